"""retrograd explore NAME: one small idea each, as a sentence, a table, and a picture where one is asked for."""

from pathlib import Path
from typing import Annotated, Any

import typer

from retrograd.cli.guard import guarded

Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with the picture.")]
Png = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Write the picture.")]
Svg = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write every number.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there.")]
Json = Annotated[bool, typer.Option("--json", help="Every number as JSON on stdout.")]
Seed = Annotated[int, typer.Option(help="What the random numbers come from.")]
Activations = Annotated[str, typer.Option(metavar="NAMES", help="Of sigmoid, tanh, relu, identity.")]
Activation = Annotated[str, typer.Option(metavar="NAME", help="sigmoid, tanh, relu or identity.")]
Start = Annotated[str, typer.Option(metavar="NAME[=NUMBER]", help="Where the weights start, such as orthogonal.")]

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def explore() -> None:
    """Show one idea at a time: small, instant, each a table and a picture."""


def scalar(
    weights: Annotated[str, typer.Option(metavar="NUMBERS", help="Values of w.")] = "0.5 0.9 1 1.1 2",
    activations: Activations = "sigmoid tanh relu identity",
    inputs: Annotated[str, typer.Option(metavar="NUMBERS", help="x(1), x(2) ...; then 0.")] = "1",
    input_weight: Annotated[float, typer.Option(help="c.")] = 1.0,
    start: Annotated[float, typer.Option(help="h(0).")] = 0.0,
    steps: Annotated[int, typer.Option(help="T.")] = 30,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """One unit h(t) = f(w h(t-1) + c x(t)). How long it remembers an input."""
    from retrograd.explore.checks import parsed

    options = {
        "weights": parsed("--weights", weights),
        "activations": _names(activations),
        "inputs": parsed("--inputs", inputs),
        "input_weight": input_weight,
        "start": start,
        "steps": steps,
    }
    _show("scalar", options, _files(html, png, svg, csv), force=force, json=json)


def eigenvalues(
    matrix: Annotated[
        str | None, typer.Option(metavar="ROWS", help='A square matrix, such as "0.5 1; -1 0.5".')
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="NAME[=NUMBER]", help="Or the recurrent weights of a start; else default.")
    ] = None,
    size: Annotated[int, typer.Option(help="Units of the start.")] = 32,
    seed: Seed = 0,
    vector: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="The vector to follow; else drawn from the seed.")
    ] = None,
    steps: Annotated[int, typer.Option(help="How often the matrix acts on it.")] = 30,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Eigenvalues and the orbit of a vector. Growth, decay, rotation, oscillation."""
    from retrograd.explore import checks

    options = {
        "matrix": None if matrix is None else checks.matrix(matrix),
        "start": start,
        "size": size,
        "seed": seed,
        "vector": None if vector is None else checks.parsed("--vector", vector),
        "steps": steps,
    }
    _show("eigenvalues", options, _files(html, png, svg, csv), force=force, json=json)


def derivatives(
    activations: Activations = "sigmoid tanh relu",
    reach: Annotated[float, typer.Option(help="z from minus this to this.")] = 8.0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Activations and their derivatives. How much of a gradient passes: at most 1/4, 1, and 0 or 1."""
    options = {"activations": _names(activations), "reach": reach}
    _show("derivatives", options, _files(html, png, svg, csv), force=force, json=json)


def depth(
    layers: Annotated[int, typer.Option(help="How many.")] = 30,
    width: Annotated[int, typer.Option(help="Units of each.")] = 64,
    activations: Activations = "sigmoid tanh relu",
    start: Start = "default",
    seed: Seed = 0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """The gradient by layer in a deep net. It decays as it does over time."""
    options = {
        "layers": layers,
        "width": width,
        "activations": _names(activations),
        "start": start,
        "seed": seed,
    }
    _show("depth", options, _files(html, png, svg, csv), force=force, json=json)


def optimizers(
    quadratic: Annotated[str, typer.Option(metavar="A B C", help="Of f = A x^2 + B x y + C y^2.")] = "1 1 6",
    start: Annotated[str, typer.Option(metavar="X Y", help="Where they set out.")] = "4 1",
    rate: Annotated[float, typer.Option(help="alpha.")] = 0.05,
    momentum: Annotated[float, typer.Option(help="gamma.")] = 0.9,
    steps: Annotated[int, typer.Option(help="Of each.")] = 30,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """SGD, momentum and Nesterov on a quadratic. The paths over contours."""
    from retrograd.explore.checks import parsed

    options = {
        "quadratic": parsed("--quadratic", quadratic),
        "start": parsed("--start", start),
        "rate": rate,
        "momentum": momentum,
        "steps": steps,
    }
    _show("optimizers", options, _files(html, png, svg, csv), force=force, json=json)


def paths(
    steps: Annotated[int, typer.Option(help="T.")] = 8,
    size: Annotated[int, typer.Option(help="Units of the net.")] = 8,
    activation: Activation = "tanh",
    start: Start = "default",
    seed: Seed = 0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """The ways from W to each loss. The two sums of BPTT term by term, and as T tied layers."""
    options = {"steps": steps, "size": size, "activation": activation, "start": start, "seed": seed}
    _show("paths", options, _files(html, png, svg, csv), force=force, json=json)


def tied(
    steps: Annotated[int, typer.Option(help="T, and so many layers.")] = 8,
    size: Annotated[int, typer.Option(help="Units of the net.")] = 8,
    activation: Activation = "tanh",
    start: Start = "default",
    rate: Annotated[float, typer.Option(help="Of gradient descent.")] = 0.02,
    updates: Annotated[int, typer.Option(help="Steps of gradient descent.")] = 30,
    seed: Seed = 0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """BPTT as T tied layers. Their summed gradient keeps them equal, their own unties them."""
    options = {
        "steps": steps,
        "size": size,
        "activation": activation,
        "start": start,
        "rate": rate,
        "updates": updates,
        "seed": seed,
    }
    _show("tied", options, _files(html, png, svg, csv), force=force, json=json)


def taps(
    taps: Annotated[
        str, typer.Option("--taps", metavar="SETS", help="Steps back that are read, such as '1 4 1,4 1,16': four nets.")
    ] = "1 4 1,4 1,16",
    size: Annotated[int, typer.Option(help="Units of each.")] = 32,
    steps: Annotated[int, typer.Option(help="T.")] = 200,
    activation: Activation = "tanh",
    start: Start = "default",
    seed: Seed = 0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """A recurrence that reads several steps back. How far its gradient reaches by its taps."""
    from retrograd.explore.checks import sets

    options = {
        "sets": sets("--taps", taps),
        "size": size,
        "steps": steps,
        "activation": activation,
        "start": start,
        "seed": seed,
    }
    _show("taps", options, _files(html, png, svg, csv), force=force, json=json)


def forgetting(
    cells: Annotated[
        str | None,
        typer.Option(metavar="CELLS", help="CELL or CELL:START, such as 'rnn:orthogonal lstm:forget_bias=3'."),
    ] = None,
    size: Annotated[int, typer.Option(help="Units of each.")] = 32,
    steps: Annotated[int, typer.Option(help="T.")] = 100,
    seed: Seed = 0,
    html: Html = None,
    png: Png = None,
    svg: Svg = None,
    csv: Csv = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Two states from different starts, under the same inputs. Do they draw together or apart?"""
    options = {"size": size, "steps": steps, "seed": seed} | ({} if cells is None else {"cells": _names(cells)})
    _show("forgetting", options, _files(html, png, svg, csv), force=force, json=json)


for verb in (scalar, eigenvalues, derivatives, depth, optimizers, paths, tied, taps, forgetting):
    app.command()(guarded(verb))


def _names(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _files(html: Path | None, png: Path | None, svg: Path | None, csv: Path | None) -> dict[str, Path]:
    given = {"html": html, "png": png, "svg": svg, "csv": csv}
    return {kind: file for kind, file in given.items() if file is not None}


def _show(name: str, options: dict[str, Any], files: dict[str, Path], *, force: bool, json: bool) -> None:
    """Nothing is computed where a file cannot be written, and nothing is written where something is wrong."""
    import shutil
    import sys

    from retrograd.cli.tables import table, wrapped
    from retrograd.explore import EXPLORATIONS, as_json
    from retrograd.explore.files import check, write

    check(files, force=force)
    it = EXPLORATIONS[name]
    result = it.explore(**options)
    for file in write(it, result, files, force=force):
        print(f"Wrote {file}.", file=sys.stderr if json else sys.stdout)
    if json:
        print(as_json(it, result))
        return
    room, shown = shutil.get_terminal_size().columns, it.table(result)
    lines = [it.title, "", *wrapped(it.say(result), room=room), "", *table([shown.heads, *shown.rows], room=room)]
    print("\n".join(lines))
