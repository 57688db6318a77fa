"""From a config to a model on a device, and back from a run folder."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from retrograd import config, runs
from retrograd.bptt import Stack, choose
from retrograd.cells import make_cell, to_state_dict
from retrograd.errors import ConfigError, RunError, UsageError
from retrograd.init import initialise_
from retrograd.models import NGram, RecurrentLM
from retrograd.runs import Run
from retrograd.tasks import tokenizers
from retrograd.training import checkpoint

COUNTS = "ngram.safetensors"  # the file of a run whose model counts
ACTIVATED = ("elman", "additive")  # cells whose activation can be chosen


def build(settings: config.Config, vocabulary: int) -> RecurrentLM:
    """An untrained model, drawn from torch's global random state. Raises UnknownName, ConfigError, UsageError."""
    m = settings.model
    width = m.embedding or (m.hidden if m.tied else min(m.hidden, 64))
    options = {"activation": m.activation} if m.cell in ACTIVATED else {}
    sizes = [width] + [m.hidden] * (m.layers - 1)
    stack = Stack([make_cell(m.cell, size, m.hidden, **options) for size in sizes], dropout=m.dropout)
    initialise_(stack, m.init or "default")
    stack.backend = choose(stack.layers[0], settings.training.backend)
    return RecurrentLM(vocabulary, stack, dropout=m.dropout, tied=m.tied, embedding_range=m.embedding_range)


def device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one. Raises ConfigError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"There is no device {name!r} here ({reason}). Try --device cpu.") from None
    return chosen


def load(path: str | Path, *, which: str = "best") -> RecurrentLM:
    """The model of a run as an nn.Module, in evaluation mode, on the CPU.

    `which` is "best" (by validation) or "last". Raises RunError where the folder or its weights cannot be read.
    """
    run = runs.open_run(path)
    settings = run.config()
    refuse_what_counts(run)

    def read(point: checkpoint.Checkpoint) -> RecurrentLM:
        with torch.random.fork_rng(devices=[]):
            model = build(settings, _vocabulary(point))
        checkpoint.restore(point, model)
        return model.eval()

    return checkpoint.steadily(run.checkpoints, which, read)


def refuse_what_counts(run: Run) -> None:
    """Raises RunError for a model that is no network: there is nothing to train on, and no gradient to look at."""
    settings = run.config()
    if settings.model.kind == "ngram":
        back = settings.model.order - 1
        raise RunError(
            f"{run.path} holds a {settings.model.name} model, which counts: it has no gradient, and looks exactly "
            f"{back} token{'' if back == 1 else 's'} back. Try retrograd report, generate or evaluate."
        )


def load_counts(run: Run) -> NGram:
    """Raises RunError where the tables were cut, altered or swapped."""
    file = run.kept(COUNTS)
    try:
        return NGram.restore(load_file(file))
    except SafetensorError as error:
        raise RunError(f"{file} is no file of tables: {error}.") from None


def load_with_tokenizer(path: str | Path) -> tuple[RecurrentLM | NGram, tokenizers.Tokenizer]:
    """The best model of a run on text, and its tokenizer. Raises RunError where they do not fit each other."""
    run = runs.open_run(path)
    model = load_counts(run) if run.config().model.kind == "ngram" else load(path)
    tokenizer = tokenizer_of(run)
    if tokenizer is None:
        raise RunError(f"{path} was not trained on text, so it can neither read nor write one.")
    types = model.vocabulary if isinstance(model, NGram) else model.softmax.out_features
    if tokenizer.size != types:
        raise RunError(
            f"The tokenizer in {path} has {tokenizer.size} types and the model {types}; "
            f"one of the two is another run's."
        )
    return model, tokenizer


def tokenizer_of(run: Run) -> tokenizers.Tokenizer | None:
    """None where the task makes its own examples. Raises RunError where the file was cut, altered or swapped."""
    on_text = run.config().task == "language"
    return tokenizers.load(run.kept("tokenizer.json")) if on_text else None


def _vocabulary(point: checkpoint.Checkpoint) -> int:
    size = point.info.get("vocabulary")
    if not isinstance(size, int) or size < 1:
        raise RunError(f"The checkpoint {point.path} does not say how large its vocabulary is; got {size!r}.")
    return size


def to_torch(model: nn.Module) -> dict[str, Tensor]:
    """The recurrent layers as the state dict of a plain nn.RNN, nn.GRU or nn.LSTM, copied.

    >>> plain = nn.LSTM(64, 512)
    >>> plain.load_state_dict(rg.to_torch(rg.load("runs/NAME")))

    Raises UsageError where torch has no such module, or where the model holds no recurrent layers of ours.
    """
    stacks = [module for module in model.modules() if isinstance(module, Stack)]
    if len(stacks) != 1:
        raise UsageError(f"Expected a model with one stack of recurrent layers, got one with {len(stacks)}.")
    return {name: tensor.clone() for name, tensor in to_state_dict(stacks[0].layers).items()}
