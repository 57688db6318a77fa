"""retrograd generate RUN: text from a trained model."""

from pathlib import Path
from typing import Annotated

import typer


def generate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    prompt: Annotated[str, typer.Option(help="The text to go on from.")] = "",
    length: Annotated[int, typer.Option(help="Tokens to write.")] = 500,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest; 1 the model's own spread.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Draw from the k likeliest only.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed writes the same text.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write text with a trained model."""
    from retrograd import runs
    from retrograd.experiments import generation

    written = generation.generate(run, prompt=prompt, length=length, temperature=temperature, top_k=top_k, seed=seed)
    print(runs.to_json({"run": str(run), "prompt": prompt, "text": written}) if json else written)
