"""Text from a model, one token at a time.

P(x) ~ softmax(logits / temperature), over the top_k most likely types; temperature 0 takes the likeliest
"""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from retrograd import runs
from retrograd.errors import NonFinite, UsageError
from retrograd.experiments.build import load_with_tokenizer
from retrograd.experiments.objective import at_rest
from retrograd.models import LanguageModel, NGram
from retrograd.tasks import tokenizers

Scores = Generator[Tensor, int, None]  # yields ln p of the next token but for a constant, (V,), and is sent that token


@torch.no_grad()
def tokens(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int | None = None,
    never: Sequence[int] = (),
) -> Iterator[int]:
    """Ids without end after a prompt, of at least one for a network. Its own random state: torch's is left alone.

    Raises UsageError for options out of range, NonFinite where the model's scores are not numbers.
    """
    if temperature != 0 and not 1e-3 <= temperature <= 1e3:
        raise UsageError(f"The temperature must be 0, or from 0.001 to 1000, got {temperature}. Try 0.8.")
    if top_k is not None and top_k < 1:
        raise UsageError(f"top_k must be at least 1, got {top_k}. Leave it out to sample from all types.")
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(_checked(seed))
    scored = _counted(model, prompt) if isinstance(model, NGram) else _computed(model, prompt)
    scores = next(scored)
    while True:
        if not scores.isfinite().all():
            raise NonFinite("The model's scores are no longer finite, so it cannot write.")
        scores[list(never)] = -torch.inf
        token = _draw(scores, temperature, top_k, generator)
        yield token
        scores = scored.send(token)


def _computed(model: nn.Module, prompt: Sequence[int]) -> Scores:
    device = next(model.parameters()).device
    logits, state = model(torch.tensor(list(prompt), device=device)[:, None])
    while True:
        token = yield logits[-1, 0].double().cpu()
        logits, state = model(torch.tensor([[token]], device=device), state)


def _counted(model: NGram, prompt: Sequence[int]) -> Scores:
    history = list(prompt)
    while True:
        token = yield torch.from_numpy(np.log(model.next(history)))
        history = [*history, token][-len(model.orders) :]


def _checked(seed: int) -> int:
    if not 0 <= seed < 2**63:
        raise UsageError(f"The seed must be from 0 to 2^63 - 1, got {seed}.")
    return seed


def _draw(scores: torch.Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(scores.argmax())
    if top_k is not None and top_k < len(scores):
        lowest = scores.topk(top_k).values[-1]
        scores = scores.masked_fill(scores < lowest, -torch.inf)
    return int(torch.multinomial((scores / temperature).softmax(0), 1, generator=generator))


def sample(
    model: LanguageModel,
    tokenizer: tokenizers.Tokenizer,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int | None = None,
    anew: bool = False,
) -> str:
    """The prompt and `length` tokens after it, as text. An empty prompt is a line's beginning.

    `anew`: the prompt begins a document, for a model that has learned how these begin.
    """
    if length < 1:
        raise UsageError(f"The length must be at least 1 {tokenizer.unit}, got {length}.")
    given = tokenizer.prompt(prompt)
    before = [] if anew else [tokenizer.first]
    with at_rest(model):
        stream = tokens(
            model, [*before, *given], temperature=temperature, top_k=top_k, seed=seed, never=tokenizer.never
        )
        return tokenizer.decode([*given, *(next(stream) for _ in range(length))])


def generate(
    path: str | Path,
    *,
    prompt: str = "",
    length: int = 500,
    temperature: float = 0.8,
    top_k: int | None = None,
    seed: int | None = None,
) -> str:
    """Text from the best checkpoint of a run; the options are those of `sample`."""
    model, tokenizer = load_with_tokenizer(path)
    anew = isinstance(model, NGram) and runs.open_run(path).config().training.carry == "document"
    return sample(
        model, tokenizer, prompt=prompt, length=length, temperature=temperature, top_k=top_k, seed=seed, anew=anew
    )
