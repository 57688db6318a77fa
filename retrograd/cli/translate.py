"""retrograd translate RUN TEXT...: sentences in another language, by a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from retrograd.cli import texts as read


def translate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="Sentences; without one, the lines of stdin.")
    ] = None,
    beam: Annotated[int, typer.Option(help="Hypotheses that are kept; 1 takes the likeliest word each time.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Translate sentences with a model trained on --task translation."""
    from retrograd import runs
    from retrograd.experiments import sentences

    asked = read.texts(texts, verb="translate")
    found = sentences.translate(run, asked, beam=beam)
    if json:
        both = [{"source": text, "translation": said} for text, said in zip(asked, found, strict=True)]
        print(runs.to_json({"run": str(run), "beam": beam, "sentences": both}))
        return
    for sentence in found:
        print(sentence)
