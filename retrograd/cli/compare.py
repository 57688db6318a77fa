"""retrograd compare TEXT... --models A,B,C: models on the same data, side by side."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from retrograd.cli import signals
from retrograd.cli.guard import drop_what_is_left
from retrograd.errors import UsageError

if TYPE_CHECKING:
    from retrograd.experiments.comparing.pool import Ended, Happened
    from retrograd.reports.comparison import Comparison

NUMBERS = (1, 6)  # columns of the table that stand to the right


def compare(
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Text files, in UTF-8.")] = None,
    models: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Such as ngram,window,rnn,irnn,np-rnn,gru,lstm:forget_bias=3.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of each model (3 where nothing is said).")] = None,
    task: Annotated[str | None, typer.Option(help="What is learned; language where nothing is said.")] = None,
    level: Annotated[str | None, typer.Option(help="What a token is: char, word, byte or bpe.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units in a layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    window: Annotated[int | None, typer.Option(help="Steps of backpropagation through time.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm; 0 turns clipping off.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train each run this many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="... or minutes (5 where nothing is said).")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="The first seed; the others follow it.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads of each run; else 1.")] = None,
    valid: Annotated[str | None, typer.Option(help="Validation text; else the 5 % after the first 90 %.")] = None,
    test: Annotated[str | None, typer.Option(help="Test text; else the last 5 %.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The comparison's folder, new or begun before; else runs/TIME-compare-NAME.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Go on with one that was stopped.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with what all models share.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any other config key.")] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time; one a core where nothing is said.")] = None,
    on: Annotated[str, typer.Option(metavar="cores|ray", help="Where the runs are spread.")] = "cores",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the table.")] = False,
) -> None:
    """Compare models on the same data in the same order, with the same seeds and the same budget.

    Each model is trained once with each seed; a table, a page and a sentence say what came of it and what cannot be
    told apart. Ctrl-C saves every run; --resume FOLDER, or the same command with the same --out, goes on.
    """
    from retrograd.cli.settings import FLAGS, gather

    values = gather(None, set_ or [], {name: value for name, value in locals().items() if name in FLAGS})
    if resume and (values or models or config or out or seeds is not None):
        raise UsageError("--resume goes on with what comparison.toml says; leave all but --workers and --on out.")
    if not resume and models is None:
        raise UsageError("--models names what is compared, such as --models ngram,rnn,lstm.")
    from retrograd.experiments.comparing import compare as comparisons

    comparisons.check(on=on, workers=workers)
    if resume:
        plan, folder = comparisons.taken_up(resume)
    else:
        named = [name.strip() for name in (models or "").split(",") if name.strip()]
        shared = comparisons.shared(config, values)
        plan, folder = comparisons.begun(shared, named, seeds=3 if seeds is None else seeds, out=out)
    pressed: list[int] = []
    told = _Told(json=json, quiet=quiet, pressed=pressed)
    told.say(f"{len(plan.entries)} runs, in {folder}")
    with signals.noted(pressed), told:
        for event in comparisons.comparing(plan, folder, workers=workers, on=on, stop=told.asked):
            told.show(event)
    told.result()
    if pressed and not told.whole:
        raise typer.Exit(128 + pressed[0])
    if told.broken:
        raise typer.Exit(1)


class _Told:
    """What happens, in a line each, and on a terminal a last one that is written over; at the end the table."""

    def __init__(self, *, json: bool, quiet: bool, pressed: list[int]) -> None:
        from rich.console import Console

        self.json, self.quiet, self.pressed = json, quiet, pressed
        self.console = Console(stderr=json, highlight=False, soft_wrap=True)
        self.status = self.console.status("") if self.console.is_terminal and not quiet else None
        self.shares: dict[str, float] = {}  # of their budgets, of the runs on the way
        self.stopping = False
        self.ended: Ended | None = None
        self.found: Comparison | None = None

    def __enter__(self) -> Self:
        if self.status:
            self.status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self.status:
            self.status.stop()

    @property
    def whole(self) -> bool:
        """Has every run finished?"""
        return self.found is not None and self.found.finished == self.found.planned

    @property
    def broken(self) -> bool:
        """Did a run fail for another reason than that its numbers were not finite, which is a result too?"""
        outcomes = [o for s in self.found.standings for o in s.outcomes] if self.found else []
        return any(o.status != "finished" and not (o.status == "failed" and o.not_finite) for o in outcomes)

    def say(self, line: str) -> None:
        if self.quiet:
            return
        try:
            print(line, file=sys.stderr if self.json else sys.stdout, flush=True)
        except BrokenPipeError:  # who read along has left
            drop_what_is_left()
            self.pressed.append(signals.PIPE)

    def asked(self) -> bool:
        """Is it to stop? Says so once."""
        if self.pressed and not self.stopping:
            self.stopping = True
            self.say("Stopping: what is on the way is saved.")
        return self.stopping

    def show(self, event: "Happened | Comparison") -> None:
        from retrograd.experiments.comparing import pool

        match event:
            case pool.Began():
                self.shares[event.entry.name] = 0.0
            case pool.Progressed():
                self.shares[event.entry.name] = event.progress
            case pool.Ended():
                self.shares.pop(event.entry.name, None)
                self.ended = event
            case _:
                self.found = event
                self._line()
        if self.status and self.found:
            on_the_way = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
            self.status.update(f"{self.found.finished} of {self.found.planned} finished; {on_the_way}")

    def _line(self) -> None:
        """What came of the run that ended last."""
        from retrograd.reports.comparison_page import figure_of

        if self.ended is None or self.found is None:
            return
        ended, self.ended = self.ended, None
        outcome = next(o for s in self.found.standings for o in s.outcomes if o.name == ended.entry.name)
        what = f"test {self.found.figure.name} {figure_of(self.found, outcome)}" if outcome.figure is not None else ""
        told = ended.reason or what
        self.say(f"{ended.entry.name}  {ended.status}{f': {told}' if told else ''}")

    def result(self) -> None:
        found = self.found
        assert found is not None
        if self.json:
            print(found.to_json())
            return
        print("\n".join(lines(found, quiet=self.quiet)))


def lines(found: "Comparison", *, quiet: bool = False) -> Iterator[str]:
    """The table, what cannot be told apart, and where the rest is."""
    from retrograd.cli import tables
    from retrograd.reports import comparison_page

    table, room = comparison_page.standings(found), tables.width()
    if not quiet:
        yield ""
    yield from tables.table([table.heads, *table.rows], room=room, right=NUMBERS)
    for sentence in found.said:
        yield from ["", *tables.wrapped(sentence, room=room)]
    if found.finished < found.planned:
        left = f"{found.finished} of {found.planned} runs have finished. {comparison_page.RESUME}"
        yield from ["", *tables.wrapped(left.format(folder=shlex.quote(found.folder)), room=room)]
    yield from ["", f"Page {found.folder}/comparison.html"]
