"""retrograd train [FILE...]: a model of one's own text, or of any other task, and how far back its gradient reaches."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from retrograd.cli import signals
from retrograd.cli.guard import drop_what_is_left
from retrograd.errors import UsageError


def train(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="Text files in UTF-8, or what the task reads.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is learned; language where nothing is said.")] = None,
    model: Annotated[str | None, typer.Option(help="recurrent, window; or ngram, naive-bayes, which count.")] = None,
    cell: Annotated[str | None, typer.Option(help="elman, gru, lstm, additive or multi-tap.")] = None,
    level: Annotated[str | None, typer.Option(help="What a token is: char, word, byte or bpe.")] = None,
    hidden: Annotated[int | None, typer.Option(help="Units in a layer.")] = None,
    layers: Annotated[int | None, typer.Option(help="Recurrent layers.")] = None,
    window: Annotated[int | None, typer.Option(help="Steps of backpropagation through time.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm; 0 turns clipping off.")] = None,
    init: Annotated[str | None, typer.Option(help="Start, such as orthogonal or default+forget_bias=3.")] = None,
    steps: Annotated[int | None, typer.Option(help="Train this many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Train this many minutes (5 where nothing is said).")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or auto.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads.")] = None,
    backend: Annotated[str | None, typer.Option(help="native, fused, manual, reference or auto.")] = None,
    valid: Annotated[str | None, typer.Option(help="Validation text; else the 5 % after the first 90 %.")] = None,
    test: Annotated[str | None, typer.Option(help="Test text; else the last 5 %.")] = None,
    weights: Annotated[str | None, typer.Option(help="Start from this .safetensors or .pt of tensors.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; else runs/TIME-NAME.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file, such as another run's config.toml.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any other config key.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard files too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, all else on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the result.")] = False,
) -> None:
    """Train a model of a text or of another task, and measure how far back its gradient reaches; or count.

    Ctrl-C saves at the next step and ends the run, to be gone on with by --resume RUN; a second one leaves at once.
    """
    from retrograd import config as configs
    from retrograd.cli.live import Screen
    from retrograd.cli.settings import FLAGS, gather

    values = gather(config, set_ or [], {name: value for name, value in locals().items() if name in FLAGS})
    if resume and (out or config):
        raise UsageError("--resume goes on in the run's own folder with its own config; leave --out and --config out.")
    settings = configs.make(values)
    from retrograd.experiments.events import Finished
    from retrograd.experiments.own_process import begin_own_process
    from retrograd.experiments.training import resuming, training

    begin_own_process()

    pressed: list[int] = []
    way = partial(resuming, resume, changes=values) if resume else partial(training, settings, out=out)
    with Screen(json=json, quiet=quiet) as screen:
        events = way(tensorboard=tensorboard, stop=lambda: bool(pressed))
        first = next(events)  # from here on there is something to save; before, a signal leaves at once
        with signals.noted(pressed):
            for event in chain([first], events):
                try:
                    screen.show(event)
                except BrokenPipeError:  # who read along has left
                    drop_what_is_left()
                    pressed.append(signals.PIPE)
    if isinstance(event, Finished) and event.status == "preempted":  # a signal in the last second changes nothing
        raise typer.Exit(128 + pressed[0])
