"""A comparison from a plan to a table: every run brought to its end, and what came of them written down after each.

    for event in comparing(plan, folder, workers=2):  show(event)        Began, Progressed, Ended, Comparison ...

Each run is the one that `retrograd train` would make of its config.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from retrograd import config, runs
from retrograd.errors import UnknownName, UsageError
from retrograd.experiments.comparing import cluster, pool
from retrograd.experiments.comparing.contestants import OWN
from retrograd.experiments.comparing.outcomes import RESULT, Outcomes
from retrograd.experiments.comparing.plan import Plan, opened, planned, put_down
from retrograd.experiments.comparing.pool import Ended, Happened, Stop
from retrograd.experiments.comparing.standings import compared
from retrograd.reports.comparison import Comparison
from retrograd.runs import Run

PAGE = "comparison.html"


class Place(NamedTuple):
    """Where runs are spread: how that is done, and how many there is room for at a time."""

    spread: Callable[..., Generator[Happened, None, None]]
    room: Callable[[config.Training], int]


PLACES = {"cores": Place(pool.spread, pool.room), "ray": Place(cluster.spread, cluster.room)}


def compare(
    values: Mapping[str, Any], models: Sequence[str], *, seeds: int = 3, out: str | Path | None = None, **options: Any
) -> Comparison:
    """Compare models to the end; `values` is a config as nested dicts, which all of them share.

    >>> compare({"data": {"train": ["notes.txt"]}, "training": {"steps": 500}}, ["rnn", "lstm"]).said[0]
    'lstm has the lowest perplexity, told apart from all others.'

    Where `out` holds the same comparison, it goes on from where it stopped. The options are those of `comparing`.
    Raises UsageError for what cannot be compared, before anything is begun.
    """
    check(**{key: x for key, x in options.items() if key in ("on", "workers")})
    plan, folder = begun(values, models, seeds=seeds, out=out)
    for event in comparing(plan, folder, **options):
        last = event
    assert isinstance(last, Comparison)
    return last


def check(*, on: str = "cores", workers: int | None = None) -> None:
    """Raises UsageError for a place that there is not, that lacks its package, or that does not answer."""
    if on not in PLACES:
        raise UnknownName("place for --on", on, PLACES)
    if workers is not None and workers < 1:
        raise UsageError(f"At least one worker is needed, got --workers {workers}.")
    if on == "ray":
        cluster.joined()


def shared(file: Path | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """What all models share: a file, such as a run's config, without what is a contestant's own; and `values`."""
    read = config.read(file) if file else {}
    if isinstance(model := read.get("model"), Mapping):
        read["model"] = {key: x for key, x in model.items() if key not in OWN}
    return config.merge(read, values)


def begun(values: Mapping[str, Any], models: Sequence[str], *, seeds: int, out: str | Path | None) -> tuple[Plan, Path]:
    """A plan and its folder, new or begun before. Raises UsageError."""
    plan = planned(values, models, seeds=seeds)
    texts = plan.shared.data.train
    name = Path(texts[0]).stem if texts else plan.shared.task.name
    return plan, put_down(plan, out, name=name)


def taken_up(folder: Path) -> tuple[Plan, Path]:
    """The plan of a folder that was begun before. Raises RunError."""
    return opened(folder), folder


def comparing(
    plan: Plan, folder: Path, *, workers: int | None = None, on: str = "cores", stop: Stop = lambda: False
) -> Iterator[Happened | Comparison]:
    """What happens to the runs, and after each that ends the comparison as it stands; the last is that of the end.

    `workers`: runs at a time; as many as there is room for where nothing is said. When `stop` says yes, those that run
    are saved and no other begins.
    """
    with Run(folder).writing():
        outcomes = Outcomes(folder)
        left = [entry for entry in plan.entries if not outcomes.complete(entry)]
        many = (workers or PLACES[on].room(plan.shared.training)) if left else outcomes.workers
        yield _written(plan, folder, outcomes, many)
        if not left:
            return
        with closing(PLACES[on].spread(folder, left, workers=many, stop=stop)) as events:
            for event in events:
                yield event
                if isinstance(event, Ended):
                    outcomes.ended(event.entry.name, event.reason, event.context)
                    yield _written(plan, folder, outcomes, many)
        yield _written(plan, folder, outcomes, many)


def _written(plan: Plan, folder: Path, outcomes: Outcomes, workers: int) -> Comparison:
    """The comparison as it stands, in its files too."""
    from retrograd.reports.comparison_page import page  # which draws with matplotlib

    found = compared(plan, folder, outcomes, workers=workers)
    runs.write(folder / RESULT, found.to_json())
    runs.write(folder / PAGE, page(found))
    return found
