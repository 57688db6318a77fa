"""retrograd evaluate RUN TEXT: the model's figures on another text, every token counted once."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="Text files, in UTF-8.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Cross-entropy and perplexity of a trained model on another text."""
    from retrograd import runs
    from retrograd.experiments.inspection import evaluate_text

    figures = evaluate_text(run, texts)
    if json:
        print(runs.to_json({"run": str(run), "texts": texts, "figures": figures}))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:,.0f}" if value == int(value) else f"{name:20} {value:.4f}")
