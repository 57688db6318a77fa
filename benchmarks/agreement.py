"""Agreement and recency: accuracy on minimal pairs by attractors and by distance, of an LSTM, a plain net and a 5-gram.

python -m benchmarks.agreement [STEPS]        also draws docs/agreement.svg
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import retrograd as rg
from benchmarks import results
from benchmarks.trained import row
from retrograd.reports import Grid, Report

STEPS = 4000
MODELS: dict[str, dict[str, Any]] = {
    "LSTM": {"model": {"cell": "lstm"}},
    "plain (tanh)": {"model": {"cell": "elman"}, "training": {"lr": 3e-3}},
    "5-gram": {"model": {"kind": "ngram"}},
}
PANELS = {  # what is drawn: a table of the report, and the columns of its x and y
    "agreement, by nouns between": ("Accuracy by attractors: agreement", 0, 1),
    "pronoun, by words between (misled)": ("Accuracy by distance: pronoun", 0, 2),
    "a word that returns, by words between": ("Accuracy by distance: return", 0, 1),
}
PICTURE = Path(__file__).parent.parent / "docs" / "agreement.svg"


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    reports, table = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in MODELS.items():
            counted = values["model"].get("kind") == "ngram"
            training = {} if counted else {"steps": steps, **values.get("training", {})}
            settings = rg.make_config({"task": "agreement", "model": values["model"], "training": training})
            done, table[name] = row(settings, Path(folder) / name.split()[0])
            reports[name] = done.report
    draw(reports)
    results.write("agreement", steps=steps, runs=table)


def draw(reports: dict[str, Report]) -> None:
    """One panel for each sort of pairs, one line for each model; chance is one half."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (title, (heading, x, y)) in zip(
        figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True
    ):
        for (name, report), marker in zip(reports.items(), "os^", strict=True):
            grid: Grid = report.grids[heading]
            points = [(float(r[x]), float(r[y])) for r in grid.rows if float(r[y]) == float(r[y])]
            axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, label=name)
        trained = [float(r[x]) for r in reports["LSTM"].grids[heading].rows if float(r[-1]) < 0.5]
        axes.axvspan(max(trained), axes.get_xlim()[1], color="0.93", zorder=0, label="longer than trained on")
        axes.axhline(0.5, color="0.5", linewidth=1, linestyle=":")
        axes.set(title=title, xlabel=grid.heads[x], ylim=(0, 1.03))
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share right")
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    main()
