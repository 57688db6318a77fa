"""The three things to see first: how far gradients reach untrained, why it matters, and a model of real English."""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrograd import config, runs
from retrograd.diagnosis import judge
from retrograd.errors import DataError
from retrograd.experiments.events import Event, Finished, Progress
from retrograd.experiments.training import training
from retrograd.experiments.untrained import Untrained, untrained

GAP = 60  # chosen by benchmarks/recall_gap.py: over the default LSTM's horizon, learned by the remedy in the time
RECALL: dict[str, Any] = {
    "task": {"name": "recall"},
    "model": {"cell": "lstm", "hidden": 64, "embedding": 16, "dropout": 0.0},
    "training": {"batch": 32, "steps": 400, "optimizer": "adam", "lr": 5e-3, "schedule": "constant", "warmup": 0.0},
    "measure": {"every": 0},
}
TEXT: dict[str, Any] = {
    "model": {"cell": "lstm", "hidden": 256},
    "training": {"minutes": 0.7},
}


@dataclass(frozen=True)
class Heading:
    """A part of the demonstration begins."""

    title: str


@dataclass(frozen=True)
class Compared:
    """One training of part 2, at its end."""

    name: str
    result: Finished


@dataclass(frozen=True)
class Wrote:
    """Part 3 at its end."""

    result: Finished


def demo(folder: Path) -> Iterator[Heading | Untrained | Progress | Compared | Wrote]:
    """Run all three parts into `folder`; Progress comes between for whoever shows it."""
    yield Heading("How far back a loss on the last step reaches, untrained (H = 256, T = 400)")
    yield from untrained()
    yield Heading(f"Why it matters: name a symbol shown {GAP} steps ago")
    default = yield from _to_the_end(training(recall(GAP, "default"), out=folder / "recall-default"))
    yield Compared("LSTM, default", default)
    init = remedy(default)
    cured = yield from _to_the_end(training(recall(GAP, init), out=folder / "recall-remedy"))
    yield Compared(f"LSTM, {init}", cured)
    yield Heading("A character model of real English: the prose of Python's own help")
    text = folder / "topics.txt"
    runs.write(text, "\n".join(prose()) + "\n")
    settings = config.merge(TEXT, {"data": {"train": [str(text)]}})
    yield Wrote((yield from _to_the_end(training(config.make(settings), out=folder / "text"))))


def recall(gap: int, init: str, *, seed: int = 1) -> config.Config:
    """Part 2's training, for any gap and start."""
    return config.make(
        config.merge(RECALL, {"task": {"length": gap}, "model": {"init": init}, "training": {"seed": seed}})
    )


def remedy(result: Finished) -> str:
    """The start that the first finding about the untrained model names, such as "forget_bias=3.7"."""
    start, gap = result.report.measurements["start"], GAP
    found = judge(start.horizon, start.saturation, need=gap)
    starts = [it.option for finding in found for it in finding.remedies if it.kind == "start" and it.option]
    return starts[0].removeprefix("--init ") if starts else "default"


def prose() -> list[str]:
    """The prose paragraphs of `pydoc_data.topics`, each once, in order: no code, no grammar, no tables."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError(
            "This Python comes without pydoc_data, which holds the demo's text. Try a full Python."
        ) from None
    paragraphs = (" ".join(p.split()) for text in topics.values() for p in re.split(r"\n\s*\n", text) if _one_block(p))
    return list(dict.fromkeys(p for p in paragraphs if _is_prose(p)))


def _one_block(paragraph: str) -> bool:
    indents = {len(line) - len(line.lstrip()) for line in paragraph.strip("\n").splitlines()}
    return len(indents) == 1


def _is_prose(p: str) -> bool:
    looks_like_a_sentence = len(p) >= 60 and p[0].isupper() and p[-1] in ".!?"
    return looks_like_a_sentence and "::=" not in p and ">>>" not in p


def _to_the_end(events: Iterator[Event]) -> Generator[Progress, None, Finished]:
    """Pass the Progress on; the value of the expression is what finished."""
    for event in events:
        if isinstance(event, Progress):
            yield event
    assert isinstance(event, Finished)
    return event
