"""retrograd fix FILE.py:FUNCTION: apply a remedy, measure again, and train a little without it and with it."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from retrograd.experiments.fixing import Fixed
    from retrograd.experiments.proving import Half, Proof
    from retrograd.reports import Report

NOT_HELPED = 3  # the exit code where the remedy does not help
WITHOUT, WITH = "without it", "with it"


def fix(
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION", help="A function that returns (model, loss) or (model, loss, batches)."
        ),
    ],
    need: Annotated[int | None, typer.Option(help="Steps that the task must look back.")] = None,
    apply: Annotated[
        str | None,
        typer.Option(metavar="NAME[=NUMBER]", help="The remedy, such as forget-bias=3; else the first named."),
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps of the short training; 0 for none.")] = 200,
    lr: Annotated[float, typer.Option(help="Its learning rate.")] = 3e-3,
    seeds: Annotated[int, typer.Option(min=1, help="How many times to train both, on other batches.")] = 1,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the page.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over what --html would write.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Everything as JSON on stdout.")] = False,
) -> None:
    """Apply a remedy to a model, measure it before and after, and prove it by a short training.

    The exit code is 3 where it does not help: something is still wrong, and neither the horizon nor what is learned
    has gained more than chance. Nothing is written but what is asked for.
    """
    import shutil
    import sys

    from retrograd.cli import target
    from retrograd.errors import UsageError

    if not target.is_target(model):
        raise UsageError(
            f"{model} is no FILE.py:FUNCTION. A run is trained again with a remedy: retrograd train --init."
        )
    file = html and html.absolute()  # before their code, which may go elsewhere
    fixed = _fixed(model, apply, need=need, steps=steps or None, lr=lr, seeds=range(seeds))
    if file:
        from retrograd.reports.html import write

        write(as_report(fixed), file, run=model, force=force)
        print(f"Wrote {html}.", file=sys.stderr if json else sys.stdout)
    if json:
        print(as_json(fixed))
    else:
        print("\n".join(lines(fixed, width=shutil.get_terminal_size().columns)))
    if not fixed.helps:
        raise typer.Exit(NOT_HELPED)


def _fixed(name: str, remedy: str | None, **options: Any) -> "Fixed":
    """Leaves where no remedy is asked for and none is named: with success where nothing is wrong."""
    from retrograd.cli import target
    from retrograd.experiments import fixing

    model, loss, batches = target.load(name)
    try:
        with target.telling(target.file_of(name)):
            return fixing.fix(model, loss, remedy, batches=batches, **options)
    except fixing.NothingToFix as found:
        print(found)
        raise typer.Exit(NOT_HELPED if fixing.something_wrong(found.report) else 0) from None


def lines(fixed: "Fixed", *, width: int) -> list[str]:
    """What was expected, what was measured, both curves, and a sentence on each."""
    from retrograd.cli.tables import wrapped
    from retrograd.reports.text import horizon_line

    width = max(min(width, 100), 40)
    expected = "" if fixed.predicted is None else f" Expected horizon: {_steps(fixed.predicted)}."
    shown = [*wrapped(f"{fixed.remedy} ({fixed.kind}): {fixed.note}{expected}", room=width), ""]
    shown += [horizon_line(name, report.horizon, width=width) for name, report in _both(fixed)]
    shown += ["", *wrapped(fixed.sentence, room=width)]
    for finding in fixed.after.findings:
        shown += wrapped(f"{finding.severity}, still: {finding.message}", room=width)
    if fixed.trained:
        shown += ["", *_curves(fixed.trained, width), "", *wrapped(fixed.trained.sentence, room=width)]
    return shown


def as_report(fixed: "Fixed") -> "Report":
    """One report of both measurements, for the page."""
    from dataclasses import replace

    named = {name: next(iter(report.measurements.values())) for name, report in _both(fixed)}
    trained = fixed.trained
    said: dict[str, Any] = {"remedy": f"{fixed.remedy} ({fixed.kind}): {fixed.note}", "measured": fixed.sentence}
    if fixed.predicted is not None:
        said["expected"] = _steps(fixed.predicted)
    if trained:
        rows = zip((WITHOUT, WITH), _pair(trained), strict=True)
        top = _top(_pair(trained))
        said |= {f"loss {name}": f"{_spark(half.curve, top, 40)} {_ends(half)}" for name, half in rows}
        said["training"] = trained.sentence
    return replace(fixed.after, subject=fixed.after.subject | said, measurements=named)


def as_json(fixed: "Fixed") -> str:
    """All of it; NaN and infinity by name."""
    from dataclasses import asdict, replace

    from retrograd import runs

    trained: dict[str, Any] | None = None
    if fixed.trained:
        pairs = [
            replace(pair, plain=replace(pair.plain, report=None), remedied=replace(pair.remedied, report=None))
            for pair in fixed.trained.pairs
        ]
        trained = asdict(replace(fixed.trained, pairs=tuple(pairs)))
        trained |= {"won": fixed.trained.won, "sentence": fixed.trained.sentence}
    return runs.to_json(
        {
            "remedy": fixed.remedy,
            "kind": fixed.kind,
            "note": fixed.note,
            "predicted": fixed.predicted,
            "gained": fixed.gained,
            "told apart": fixed.told_apart,
            "helps": fixed.helps,
            "sentence": fixed.sentence,
            "before": runs.from_json(fixed.before.to_json()),
            "after": runs.from_json(fixed.after.to_json()),
            "trained": trained,
        },
        indent=1,
    )


def _both(fixed: "Fixed") -> list[tuple[str, "Report"]]:
    first = WITHOUT if fixed.kind == "training" else "before"
    return [(first, fixed.before), (WITH, fixed.after)]


def _pair(proof: "Proof") -> tuple["Half", "Half"]:
    return proof.pairs[0].plain, proof.pairs[0].remedied


def _curves(proof: "Proof", width: int) -> list[str]:
    clipped = f", clipped to {proof.clip:g}" if proof.clip else ""
    halves = _pair(proof)
    top, ends = _top(halves), [_ends(half) for half in halves]
    bars = max(8, width - 14 - max(map(len, ends)))
    drawn = [
        f"{name:<10}  {_spark(half.curve, top, bars)}  {end}"
        for name, half, end in zip((WITHOUT, WITH), halves, ends, strict=True)
    ]
    return [f"The loss through {proof.steps} steps (Adam {proof.lr:g}{clipped}), from 0 to {top:.3g}", *drawn]


def _top(halves: Sequence["Half"]) -> float:
    return max([x for half in halves for x in half.curve if math.isfinite(x)] or [1.0])


def _spark(curve: Sequence[float], top: float, width: int) -> str:
    """On a linear scale from 0, each block the mean of the steps that it stands for."""
    from retrograd.reports.sparkline import FLOOR, sparkline

    count = min(width, len(curve))
    edges = [round(i * len(curve) / count) for i in range(count + 1)]
    means = [sum(curve[a:b]) / (b - a) for a, b in pairwise(edges)]
    return sparkline([FLOOR * (1 - max(x, 0.0) / top) if math.isfinite(x) else x for x in means], width=width)


def _ends(half: "Half") -> str:
    return f"{half.curve[0]:.3g} to {half.curve[-1]:.3g}"


def _steps(predicted: float) -> str:
    return "without end" if math.isinf(predicted) else f"{predicted:g} steps"
