"""What a trained model gets right, beside its loss: by what is asked of it, in pairs, in sentences that it writes."""

from dataclasses import dataclass, field

import torch
from torch import nn

from retrograd.experiments.minimal_pairs import judge
from retrograd.experiments.objective import Evaluation, evaluate
from retrograd.experiments.sentences import decoded
from retrograd.models import Captioner, EncoderDecoder, LanguageModel
from retrograd.reports import Grid
from retrograd.tasks import Task
from retrograd.tasks.collected import Collected
from retrograd.tasks.language import Language

HEADS = ("answers right", "sequences all right", "answers")


@dataclass(frozen=True)
class Success:
    """Figures and tables by name, what a reader should know of them, and something that the model wrote."""

    figures: dict[str, float] = field(default_factory=dict)
    grids: dict[str, Grid] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sample: str | None = None


def success(model: nn.Module, task: Task, device: torch.device) -> Success:
    """Of a network, on data that it was not trained on."""
    if isinstance(model, EncoderDecoder | Captioner):
        assert isinstance(task, Collected)
        return _sentences(model, task)
    if isinstance(task, Language):
        assert isinstance(model, LanguageModel)
        return of_pairs(model, task)
    asked, groups = task.groups()
    rows = tuple(row(name, evaluate(model, windows, device)) for name, windows in groups)
    return Success(grids={f"Success by {asked}": Grid((asked, *HEADS), rows)} if rows else {})


def of_pairs(model: LanguageModel, task: Language) -> Success:
    """On the minimal pairs that a generated text comes with; nothing on a text that has none."""
    if not task.pairs:
        return Success()
    found = judge(model, task.tokenizer, task.pairs, anew=not task.carry)
    return Success(found.figures(), found.grids())


def _sentences(model: EncoderDecoder | Captioner, task: Collected) -> Success:
    found = decoded(model, task)
    notes = (f"BLEU is sacrebleu's, {found.signature}.",) if found.signature else ()
    sample = "\n".join(f"{it.source}: {it.output} (reference: {it.reference})" for it in found.samples)
    return Success(found.figures, notes=notes, sample=sample)


def row(name: str | int, found: Evaluation) -> tuple[str | float, ...]:
    """Of a table under HEADS."""
    return (name, found.accuracy, found.whole, float(found.tokens))
