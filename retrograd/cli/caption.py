"""retrograd caption RUN PICTURE...: what a trained model says of pictures."""

from pathlib import Path
from typing import Annotated

import typer


def caption(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Files, such as PNG or JPEG.")],
    beam: Annotated[int, typer.Option(help="Hypotheses that are kept; 1 takes the likeliest word each time.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Describe pictures with a model trained on --task captioning."""
    from retrograd import runs
    from retrograd.experiments import sentences

    found = sentences.caption(run, pictures, beam=beam)
    if json:
        both = [{"picture": str(file), "caption": said} for file, said in zip(pictures, found, strict=True)]
        print(runs.to_json({"run": str(run), "beam": beam, "pictures": both}))
        return
    for file, said in zip(pictures, found, strict=True):
        print(said if len(found) == 1 else f"{file}\t{said}")
