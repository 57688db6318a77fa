"""retrograd doctor: what trains here, and why."""

from typing import Annotated, Any

import typer

EXTRAS = {
    "bleu": "sacrebleu",
    "bpe": "tokenizers",
    "lightning": "lightning",
    "ray": "ray",
    "sklearn": "sklearn",
    "tensorboard": "tensorboard",
    "transformers": "transformers",
}
SHAPE = 64, 32  # steps and sequences, about those of the default training
HIDDEN = 128, 256


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell which kernels train recurrent layers on this machine, why, and how fast each backend is."""
    import json as codec

    from retrograd.cli import tables

    found = _found()
    if json:
        typer.echo(codec.dumps(found, indent=2))
        return
    room = tables.width()
    for line in tables.pairs({name: str(value) for name, value in found.items() if name != "speed"}, room=room):
        typer.echo(line)
    rows = [("layer", "steps x batch", *found["speed"][0]["milliseconds"], "trains on")]
    for one in found["speed"]:
        times = (f"{t:.1f} ms" for t in one["milliseconds"].values())
        rows.append((one["layer"], one["shape"], *times, one["trains on"]))
    typer.echo("")
    for line in tables.table(rows, room=room, right=range(2, len(rows[0]) - 1)):
        typer.echo(line)


def _found() -> dict[str, Any]:
    import platform
    from importlib.metadata import version
    from importlib.util import find_spec

    import torch

    from retrograd.bptt import timings

    cuda = torch.cuda.is_available()
    return {
        "retrograd": version("retrograd"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{timings.processor()}, {torch.get_num_threads()} threads",
        "gpu": torch.cuda.get_device_name() if cuda else "none that torch sees",
        **_kernels(),
        "timings": str(timings.where()),
        "extras": ", ".join(name for name, module in EXTRAS.items() if find_spec(module)) or "none",
        "speed": [_timed(name, hidden) for name in ("elman", "gru", "lstm") for hidden in HIDDEN],
    }


def _kernels() -> dict[str, str]:
    from retrograd.bptt.native import library

    kernels = library()
    if isinstance(kernels, str):
        return {"kernels": f"torch's, for {kernels}. To build them: install g++ or clang, then the package again."}
    team = "torch's own" if kernels.team else "none: one thread, for torch's OpenMP runtime was not found"
    return {
        "kernels": f"native, {kernels.path}",
        "instructions": ", ".join(kernels.sets),
        "threads of the kernels": team,
    }


def _timed(name: str, hidden: int) -> dict[str, Any]:
    """A forward and backward pass on each backend that is quick."""
    from retrograd.bptt.backends import quick
    from retrograd.bptt.timings import Pass, quickest, seconds
    from retrograd.cells import make_cell

    cell = make_cell(name, hidden, hidden)
    candidates = quick(cell)
    taken = seconds(cell, candidates, Pass(*SHAPE))
    return {
        "layer": repr(cell),
        "shape": "{} x {}".format(*SHAPE),
        "milliseconds": {backend: 1000 * s for backend, s in taken.items()},
        "trains on": quickest(taken, candidates),
    }
