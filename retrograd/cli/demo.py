"""retrograd demo: the three things to see first, in under two minutes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from retrograd.experiments.demo import Compared


def demo(
    out: Annotated[Path | None, typer.Option(help="The folder to write to; else runs/TIME-demo.")] = None,
) -> None:
    """See how far gradients reach, why it matters, and a model of real English."""
    from rich.console import Console

    from retrograd import runs
    from retrograd.cli.live import progress_line
    from retrograd.experiments.demo import Compared, Heading, Wrote, demo
    from retrograd.experiments.events import Progress
    from retrograd.experiments.untrained import Untrained
    from retrograd.reports.text import horizon_line, page

    begin = time.monotonic()
    folder = runs.new_folder(out, name="demo")
    console, shown = Console(highlight=False, soft_wrap=True), []

    def say(line: str = "") -> None:
        console.print(line, markup=False)
        shown.append(line)

    with console.status("") as status:
        for event in demo(folder):
            match event:
                case Heading():
                    say(f"\n{event.title}\n")
                case Untrained():
                    say(horizon_line(event.name, event.horizon, width=min(console.width, 100)))
                case Progress():
                    status.update(progress_line(event))
                case Compared():
                    say(_compared(event))
                case Wrote():
                    say(page(event.result.report, width=min(console.width, 100)))
    report = folder / "report.txt"
    runs.write(report, "\n".join(shown) + "\n")
    console.print(f"\nReport {report}   ({time.monotonic() - begin:.0f} s)\n", markup=False)
    console.print(_next(folder), markup=False)


def _compared(event: "Compared") -> str:
    """Such as `LSTM, default  horizon 14  after 400 steps 12% of 256 right`."""
    start = event.result.report.measurements["start"].horizon
    test = event.result.test
    named = f"{test.accuracy:.0%} of {test.tokens} right" if test else "stopped"
    return f"{event.name:<22}  horizon {start.display:<4}  after {event.result.steps} steps {named}"


def _next(folder: Path) -> str:
    return (
        "Next:\n"
        "  retrograd train YOUR_TEXT.txt\n"
        f'  retrograd generate {folder / "text"} --prompt "The " --length 300\n'
        f"  retrograd diagnose {folder / 'recall-default'}"
    )
