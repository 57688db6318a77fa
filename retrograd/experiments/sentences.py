"""Sentences that a trained model writes: translations of a text, captions of pictures.

source -> model -> greedy or beam search -> tokens -> the sentence as it is written
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from retrograd import runs
from retrograd.errors import ConfigError, DataError, MissingExtra, RunError
from retrograd.experiments import scoring
from retrograd.experiments.build import load, tokenizers_of
from retrograd.experiments.objective import at_rest
from retrograd.models import Captioner, EncoderDecoder, decoding
from retrograd.tasks import written
from retrograd.tasks.collected import READ, Collected, Example, together
from retrograd.tasks.pictures import read_picture, words_for
from retrograd.tasks.tokenizers import Tokenizer
from retrograd.tasks.translation import source_ids

SHOWN = 8  # samples of a decoded test set
WIDEST = 100  # beam

Writer = EncoderDecoder | Captioner


@dataclass(frozen=True)
class Sample:
    source: str  # a sentence, or the number of a picture
    output: str
    reference: str


@dataclass(frozen=True)
class Decoded:
    """A whole test set, decoded and scored."""

    figures: dict[str, float]  # "exact match" from 0 to 1; "BLEU" from 0 to 100, where sacrebleu is installed
    signature: str  # of BLEU; empty without
    samples: tuple[Sample, ...]


def translate(path: str | Path, texts: Sequence[str], *, beam: int = 1) -> list[str]:
    """The texts, each one sentence, in the other language, by the best model of a run. One of nothing stays so."""
    model, target, source = _loaded(path, "translation")
    assert source is not None
    asked = [text for text in texts if text.strip()]
    sentences = write(model, [source_ids(text, source) for text in asked], target, beam=beam)
    given = iter(sentences)
    return [next(given) if text.strip() else "" for text in texts]


def caption(path: str | Path, pictures: Sequence[str | Path], *, beam: int = 1) -> list[str]:
    """What the best model of a run says of each picture. Raises DataError for one that is unlike those it learned."""
    model, tokenizer, _ = _loaded(path, "captioning")
    assert isinstance(model, Captioner)
    seen = [_alike(model, picture) for picture in pictures]
    return write(model, seen, tokenizer, beam=beam)


def decoded(model: Writer, task: Collected, *, beam: int = 1) -> Decoded:
    """The test set of a task of sentences, written by the model as a user's own would be, and scored."""
    assert task.tokenizer is not None
    names, references = zip(*task.collection.written, strict=True)
    sources = [example.source for example in task.collection.test if example.source is not None]
    outputs = write(model, sources, task.tokenizer, beam=beam)
    figures, signature = {"exact match": scoring.exact_match(outputs, references)}, ""
    with suppress(MissingExtra):
        figures["BLEU"], signature = scoring.bleu(outputs, references)
    samples = (Sample(*each) for each in zip(names, outputs, references, strict=True))
    return Decoded(figures, signature, tuple(samples)[:SHOWN])


def write(model: Writer, sources: Sequence[Tensor], tokenizer: Tokenizer, *, beam: int = 1) -> list[str]:
    """The sentence that the model writes from each source, alike ones side by side."""
    if not 1 <= beam <= WIDEST:
        raise ConfigError(f"A beam is from 1 to {WIDEST} wide; got {beam}. With 1 the search is greedy.")
    ending = decoding.Ending(tokenizer.first, tokenizer.first, written.longest(tokenizer), tokenizer.never)
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    sentences = [""] * len(sources)
    with at_rest(model):
        for begin in range(0, len(order), READ):
            chosen = order[begin : begin + READ]
            for i, tokens in zip(chosen, _search(model, [sources[i] for i in chosen], ending, beam), strict=True):
                sentences[i] = written.text_of(tokens, tokenizer)
    return sentences


def _search(model: Writer, sources: Sequence[Tensor], ending: decoding.Ending, beam: int) -> list[tuple[int, ...]]:
    device = model.softmax.weight.device
    nothing = torch.tensor([ending.first])
    source = together([Example(nothing, nothing, each) for each in sources]).to(device).source

    def step(tokens: Tensor, state: decoding.State | None) -> tuple[Tensor, decoding.State]:
        return model(tokens, state, None, source)  # type: ignore[no-any-return]

    if beam == 1:
        return decoding.greedy(step, len(sources), ending, device=device)
    return [each.tokens for each in decoding.beam(step, len(sources), ending, width=beam, device=device)]


def _loaded(path: str | Path, task: str) -> tuple[Writer, Tokenizer, Tokenizer | None]:
    """The best model of a run, its tokenizer and that of its source. Raises RunError where they do not fit."""
    run = runs.open_run(path)
    if (came := run.config().task.name) != task:
        raise RunError(f"{path} was trained on the task {came!r}; expected a run of {task}.")
    model = load(path)
    tokenizer, source = tokenizers_of(run)
    assert isinstance(model, Writer)
    read = model.source_embedding.num_embeddings if isinstance(model, EncoderDecoder) else None
    found = (None if tokenizer is None else tokenizer.size, None if source is None else source.size)
    if tokenizer is None or found != (model.softmax.out_features, read):
        raise RunError(
            f"The tokenizers in {path} have {found[0]} and {found[1]} types and the model "
            f"{model.softmax.out_features} and {read}; one of them is another run's."
        )
    return model, tokenizer, source


def _alike(model: Captioner, path: str | Path) -> Tensor:
    picture = read_picture(path)
    if tuple(picture.shape) != model.picture:
        wanted = words_for(torch.empty(model.picture))
        raise DataError(f"The picture {path} is {words_for(picture)}, and the model knows {wanted}; resize it.")
    return picture
