"""What came of the runs of a comparison: one outcome each, read from its folder."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from retrograd import runs
from retrograd.errors import RetrogradError
from retrograd.experiments.comparing.plan import Entry
from retrograd.experiments.inspection import read_report
from retrograd.reports import Report
from retrograd.reports.comparison import Figure, Outcome
from retrograd.runs import Run

RESULT = "comparison.json"
FIGURES = (  # the first that a report has
    Figure("squared error", "test squared error", rises=False),
    Figure("BLEU", "BLEU", rises=True),
    Figure("accuracy", "accuracy", rises=True),
    Figure("perplexity", "test nats", rises=False, exponential=True),
)


class Outcomes:
    """The runs of one folder, read again only where they may have changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        before = _before(folder)
        self.contexts, self.workers = _contexts(before), _workers(before)  # as they were last written down
        self.failures: dict[str, str] = {}  # by name, of this session
        self.figure: Figure | None = None  # what is compared; not known before a run has finished
        self._settled: dict[str, Outcome] = {}

    def ended(self, name: str, reason: str, context: dict[str, Any] | None) -> None:
        """Take down what the process of a run said."""
        self._settled.pop(name, None)
        if context is not None:
            self.contexts[name] = context
        if reason:
            self.failures[name] = reason

    def of(self, entry: Entry) -> Outcome:
        if entry.name not in self._settled:
            found = self._read(entry)
            if found.status != "finished":
                return found
            self._settled[entry.name] = found
        return self._settled[entry.name]

    def complete(self, entry: Entry) -> bool:
        """Has it finished, and is all known of it?"""
        return self.of(entry).status == "finished" and entry.name in self.contexts

    def _read(self, entry: Entry) -> Outcome:
        run, reason = Run(self.folder / entry.name), self.failures.get(entry.name, "")
        if not (run.path / "config.toml").is_file():
            return Outcome(entry.name, entry.model, entry.seed, "failed" if reason else "not begun", reason)
        try:
            report = read_report(run.path)
            self.figure = self.figure or next((figure for figure in FIGURES if figure.key in report.figures), None)
            return _outcome(
                entry, run, report, reason=reason, context=self.contexts.get(entry.name), figure=self.figure
            )
        except (RetrogradError, OSError) as error:
            return Outcome(entry.name, entry.model, entry.seed, "unreadable", reason or str(error))


def _outcome(
    entry: Entry, run: Run, report: Report, *, reason: str, context: dict[str, Any] | None, figure: Figure | None
) -> Outcome:
    events, lines, status = run.events(), run.metrics(), run.status()
    told = next((str(e["reason"]) for e in reversed(events) if e["event"] == "failed"), "")
    speeds = [float(line["tokens_per_second"]) for line in lines if "tokens_per_second" in line]
    skipped = [int(e["step"]) for e in events if e["event"] == "skipped"]
    horizons = {name: m.horizon.display for name, m in report.measurements.items()}
    return Outcome(
        name=entry.name,
        model=entry.model,
        seed=entry.seed,
        status="failed" if reason and status != "finished" else status,
        reason=reason or (told if status == "failed" else ""),
        figure=report.figures.get(figure.key) if figure else None,
        size=_size(report.subject),
        start=horizons.get("start"),
        end=horizons.get("end"),
        context=context,
        speed=median(speeds) if speeds else None,
        not_finite=min(skipped, default=None),
        steps=max([int(e["step"]) for e in events if "step" in e] + [int(line["step"]) for line in lines], default=0),
        seconds=max((float(line["seconds"]) for line in lines if "seconds" in line), default=None),
    )


def _size(subject: Mapping[str, Any]) -> int | None:
    """What a report's subject says of the size of a model: parameters, or what is counted, which is all that it has."""
    if {"types", "labels"} <= subject.keys():
        return int(subject["types"]) * int(subject["labels"])
    return next((int(subject[key]) for key in ("parameters", "n-grams") if key in subject), None)


def _before(folder: Path) -> dict[str, Any]:
    """The comparison as it was last written down; nothing where that cannot be read, and all is found out again."""
    try:
        values = runs.from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _workers(before: Mapping[str, Any]) -> int:
    found = before.get("workers")
    return found if isinstance(found, int) and found > 0 else 1


def _contexts(before: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was measured of the context of each run, which is not measured again."""
    try:
        found = {one["name"]: one["context"] for s in before["standings"] for one in s["outcomes"]}
    except (KeyError, TypeError):
        return {}
    return {str(name): dict(context) for name, context in found.items() if _is_one(context)}


def _is_one(context: Any) -> bool:
    return isinstance(context, Mapping) and context.keys() == {"steps", "more", "why"}
