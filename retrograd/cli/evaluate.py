"""retrograd evaluate RUN: the model's figures on another text, every token counted once, or on minimal pairs."""

from pathlib import Path
from typing import Annotated

import typer

from retrograd.errors import UsageError


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Text files, in UTF-8.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="BLiMP's JSONL, or TSV of good, bad, or of prefix, right, wrong."),
    ] = None,
    carry: Annotated[bool, typer.Option("--carry", help="The state goes on from pair to pair.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Cross-entropy and perplexity of a trained model on another text; or how often the better of two is likelier."""
    from dataclasses import asdict

    from retrograd import runs
    from retrograd.experiments.inspection import evaluate_text
    from retrograd.experiments.minimal_pairs import evaluate_pairs
    from retrograd.reports.text import table

    if bool(texts) == bool(pairs):
        raise UsageError("Give text files, or --pairs with a file of minimal pairs.")
    if carry and not pairs:
        raise UsageError("--carry is for minimal pairs; give them with --pairs FILE.")
    found = evaluate_pairs(run, pairs, carry=carry) if pairs else None
    figures = found.figures() if found else evaluate_text(run, texts or [])
    grids = found.grids() if found else {}
    if json:
        asked = {"pairs": str(pairs)} if pairs else {"texts": texts}
        told = {"grids": {name: asdict(grid) for name, grid in grids.items()}} if pairs else {}
        print(runs.to_json({"run": str(run), **asked, "figures": figures, **told}))
        return
    for name, value in figures.items():
        print(f"{name:26} {value:,.0f}" if value == int(value) else f"{name:26} {value:.4f}")
    for heading, grid in grids.items():
        print("\n" + "\n".join(table(heading, grid)))
