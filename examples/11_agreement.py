"""Subject and verb, pronouns, a word that returns: which of two sentences a model finds likelier.

Counts of five words know the verb while nothing stands between. A hundred steps teach an LSTM less than that;
docs/systems.md shows one after four thousand.
"""

from typing import Any

import retrograd as rg


def judged(name: str, model: dict[str, Any], training: dict[str, Any]) -> None:
    task = {"name": "agreement", "examples": 2000}
    report = rg.train(rg.make_config({"task": task, "model": model, "training": training})).report
    print(f"{name}: {report.figures['pairs judged']:,.0f} pairs")
    for heading, grid in report.grids.items():
        if heading.startswith("Accuracy"):
            print(f"  {heading}:", ", ".join(f"{row[0]:.0f} {row[1]:.0%}" for row in grid.rows))


judged("5-gram", {"kind": "ngram"}, {})
judged("LSTM", {"hidden": 48, "embedding": 24}, {"steps": 100})
