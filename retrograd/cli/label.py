"""retrograd label RUN TEXT...: texts labelled by a model of sentiment or of tags."""

from pathlib import Path
from typing import Annotated

import typer

from retrograd.cli import texts as read


def label(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Else the lines of stdin.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Say which label each text bears, or each of its words, with the model's probability."""
    from dataclasses import asdict

    from retrograd import runs
    from retrograd.experiments import labelling

    asked = read.texts(texts, verb="label")
    found = labelling.label(run, asked if texts else [line.strip() for line in asked if line.strip()])
    if json:
        print(runs.to_json({"run": str(run), "texts": [[asdict(it) for it in each] for each in found]}))
        return
    for each in found:
        for it in each:
            print(f"{it.label:12} {it.probability:4.0%}  {it.text}")
        if len(each) > 1:
            print()
