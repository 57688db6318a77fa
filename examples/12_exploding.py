"""A training that explodes, at which step, and what training goes back to by itself; the same with clipping."""

from pathlib import Path
from typing import Any

import retrograd as rg

text = Path("counting.txt")
text.write_text("".join(f"{n} and {n + 1} make {2 * n + 1}.\n" for n in range(1500)))


def trained(name: str, **training: Any) -> None:
    settings = {
        "data": {"train": [str(text)]},
        "model": {"cell": "elman", "activation": "relu", "hidden": 32},
        "training": {"steps": 60, "window": 100, "batch": 8, **training},
    }
    result = rg.train(rg.make_config(settings), out=name)
    print(f"{name}: {result.status} after {result.steps} steps, {result.test.loss:.2f} nats")
    for event in result.run.events():
        if event["event"] in ("skipped", "went back"):
            print("  ", {key: value for key, value in event.items() if key != "time"})


trained("exploding", lr=10.0, clip_norm=0.0)
trained("clipped-by-norm", lr=0.003, clip_norm=1.0)
trained("clipped-by-value", lr=0.003, clip_norm=0.0, clip_value=0.01)
