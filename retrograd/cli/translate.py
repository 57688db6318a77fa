"""retrograd translate RUN TEXT...: sentences in another language, by a trained model."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from retrograd.errors import DataError


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

    asked = texts or _lines()
    found = sentences.translate(run, asked, beam=beam)
    if json:
        both = [{"source": text, "translation": said} for text, said in zip(asked, found, strict=True)]
        print(runs.to_json({"run": str(run), "beam": beam, "sentences": both}))
        return
    for sentence in found:
        print(sentence)


def _lines() -> list[str]:
    """The lines of stdin, each a sentence."""
    lines = []
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            lines.append(line.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError:
            raise DataError(f"stdin, line {number}: expected UTF-8 text; convert it.") from None
    return lines
