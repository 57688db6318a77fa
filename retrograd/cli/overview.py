"""Runs as plain text: the list, the page of one, several side by side. Cut to a terminal's width, whole elsewhere."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from retrograd.cli import tables
from retrograd.cli.tables import number
from retrograd.config import flat

if TYPE_CHECKING:
    from retrograd.experiments.archive.catalogue import Details, Entry, Look, Saved
    from retrograd.experiments.archive.comparison import Comparison

HEAD = ("name", "status", "age", "model", "steps", "best", "horizon", "size")
ELSEWHERE = ("event", "time", "environment", "data")  # what an event's line leaves out
INDENT = "  "
NUMBERS = (4, 5, 6, 7)  # columns of HEAD that stand to the right


def lines(found: "Sequence[Entry]") -> Iterator[str]:
    """One line a run; those that cannot be read come last, with the reason."""
    room = tables.width()
    good = [_row(entry) for entry in found if not entry.reason]
    if good:
        yield from tables.table([HEAD, *good], room=room, right=NUMBERS)
    for entry in found:
        if entry.reason:
            first = f"{entry.name}  {entry.status}  {tables.age(entry.alive)}  "
            yield from tables.wrapped(entry.reason, room=room, first=first, rest="  ")


def _row(entry: "Entry") -> tuple[str, ...]:
    steps, size, age = number(entry.steps), tables.size(entry.size), tables.age(entry.alive)
    return entry.name, entry.status, age, entry.model or "-", steps, _best(entry), entry.horizon or "-", size


def _best(entry: "Entry") -> str:
    if entry.best is None:
        return "-"
    return f"{entry.best:.1%}" if entry.measure == "accuracy" else f"{entry.best:.3f}"


def page(run: "Details") -> Iterator[str]:
    """Everything about one run."""
    room = tables.width()
    yield run.entry.path
    yield "=" * len(run.entry.path)
    yield from tables.pairs(_summary(run), room=room)
    inner = room and room - len(INDENT)
    yield from _part("What befell it", _befell(run.events, inner))
    yield from _part("Figures", tables.pairs({name: number(x) for name, x in run.figures.items()}, room=inner))
    yield from _part("Horizon", tables.table([_look(look) for look in run.horizons], room=inner, right=(1,)))
    yield from _part("Checkpoints", tables.table([_saved(saved) for saved in run.checkpoints], room=inner, right=(1,)))
    yield from _part("Environment", tables.pairs({k: str(v) for k, v in run.environment.items()}, room=inner))


def _part(title: str, body: Iterator[str]) -> Iterator[str]:
    shown = [INDENT + line for line in body]
    if shown:
        yield from ("", title, *shown)


def _summary(run: "Details") -> dict[str, str]:
    from retrograd.experiments.archive.catalogue import verdicts

    m, t, task = run.config["model"], run.config["training"], run.config["task"]["name"]
    data = run.config["data"]
    texts = f"{', '.join(data['train'])} by {data['level']}" if data["train"] else task
    started = f"{tables.clock(run.started)}, last sign of life {tables.age(run.entry.alive)} ago"
    counts = m["kind"] in ("ngram", "naive-bayes")
    watched = task == "watched"  # somebody's own loop, of which the config holds what is known
    values = {
        "status": run.entry.status,
        "started": started,
        "stands at": _standing(run),
        "best": f"{_best(run.entry)} {run.entry.measure or ''}".strip(),
        "data": f"{texts}; fingerprint {run.data[:12] if run.data else 'not known'}",
        "model": f"{m['layers']} x {m['hidden']} {m['cell']} ({m.get('init', 'default')}), dropout {m['dropout']:g}",
        "training": f"window {t['window']}, batch {t['batch']}, {t['optimizer']} at {t['lr']:g} ({t['schedule']}), "
        f"clip {t['clip_norm'] or t['clip_value'] or 'off'}, seed {t['seed']}",
        "verdicts": verdicts(run) or "no report yet",
        "size": tables.size(run.entry.size),
    }
    if watched:
        values = {name: x for name, x in values.items() if name not in ("best", "data", "training")}
        values["model"] = f"{m['layers']} x {m['hidden']} {m['cell']}" if run.entry.model else "-"
    if counts:
        values = {name: x for name, x in values.items() if name not in ("stands at", "training", "verdicts")}
        kneser_ney = f"{run.entry.model}, interpolated modified Kneser-Ney"
        values["model"] = kneser_ney if m["kind"] == "ngram" else "naive Bayes"
    if m["kind"] == "window":
        values["model"] = f"{run.entry.model}, dropout {m['dropout']:g}"
    return values | ({"page": run.page} if run.page else {})


def _standing(run: "Details") -> str:
    t = run.config["training"]
    budget = next((f"{number(t[name])} {name}" for name in ("steps", "epochs", "minutes") if t.get(name)), "no budget")
    share = "" if run.progress is None else f", {run.progress:.0%}"
    time = "" if run.seconds is None else f", after {number(round(run.seconds, 1))} s"
    speed = "" if run.speed is None else f" at {run.speed / 1000:.1f}k tokens per second"
    return f"step {number(run.entry.steps)} ({budget}{share}){time}{speed}"


def _befell(events: "Sequence[dict[str, Any]]", room: int | None) -> Iterator[str]:
    """One paragraph an event; of several alike in a row the last, with how many there were."""
    for name, alike in groupby(events, key=lambda event: str(event["event"])):
        *before, event = alike
        times = f"  {len(before) + 1} times, the last:" if before else ""
        told = [_told(key, x) for key, x in event.items() if key not in ELSEWHERE and x not in (None, [], {})]
        first = f"{tables.clock(event.get('time'))}  {name}{times}  "
        yield from tables.wrapped(", ".join(told), room=room, first=first, rest="  ")


def _told(key: str, x: Any) -> str:
    """Such as "step 20", "test (nats 2.5, tokens 300)"; a value that names itself stands alone."""
    if isinstance(x, dict):
        return f"{key} ({', '.join(f'{inner} {number(value)}' for inner, value in flat(x).items())})"
    if isinstance(x, list):
        return f"{key}: {' '.join(map(str, x))}"
    return str(x) if str(x).startswith(key) else f"{key} {number(x)}"


def _look(look: "Look") -> tuple[str, ...]:
    from retrograd.experiments.archive.catalogue import interval

    decay = "decay not measured" if look.decay is None else f"{number(look.decay)} per step"
    return look.name, f"step {number(look.step)}", interval(look), decay


def _saved(saved: "Saved") -> tuple[str, ...]:
    return saved.name, tables.size(saved.size), ", ".join(saved.roles)


def compared(found: "Comparison") -> Iterator[str]:
    """The caveats, the config keys that differ, then the results."""
    room = tables.width()
    for caveat in found.caveats:
        yield from [*tables.wrapped(caveat, room=room), ""]
    rows = [("", *found.names)]
    rows += [(key, *map(_setting, values)) for key, values in found.settings.items()]
    if not found.settings:
        rows += [("config", *("the same" for _ in found.names))]
    rows += [("", *("" for _ in found.names))]
    rows += [(name, *map(number, values)) for name, values in found.results.items()]
    yield from tables.side_by_side(rows, room=room)
    if found.conclusion:
        yield from ["", *tables.wrapped(found.conclusion, room=room)]


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
