"""From a config to a model on a device, and back from a run folder."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor, nn

from retrograd import config, runs
from retrograd.bptt import Stack, choose
from retrograd.bptt.bidirectional import Bidirectional
from retrograd.bptt.timings import Pass
from retrograd.cells import Cell, make_cell, to_state_dict
from retrograd.errors import ConfigError, RunError, UsageError
from retrograd.init import initialise_
from retrograd.models import (
    BothWays,
    Captioner,
    EncoderDecoder,
    LanguageModel,
    Network,
    NGram,
    Recurrent,
    WindowLM,
)
from retrograd.runs import Run
from retrograd.tasks import Task, tokenizers
from retrograd.tasks.tokenizers import Fitted
from retrograd.tasks.window import Sizes
from retrograd.training import checkpoint

COUNTS = "ngram.safetensors"  # the file of a run whose model counts
TOKENIZER, SOURCE, LABELS = "tokenizer.json", "source_tokenizer.json", "labels.json"  # what a task was fitted to
ONLY = {"order": "ngram", "context": "window"}  # keys that one kind of model reads
ACTIVATED = ("elman", "additive", "multi-tap")  # cells whose activation can be chosen


def build(settings: config.Config, sizes: Sizes) -> Network:
    """An untrained model, drawn from torch's global random state. Raises UnknownName, ConfigError, UsageError."""
    m = settings.model
    _refuse_idle(settings, sizes)
    width = m.embedding or (m.hidden if m.tied else min(m.hidden, 64))
    types, read = (0, sizes.inputs) if sizes.numbers else (sizes.inputs, width)
    if m.kind == "window":
        return WindowLM(types, width, m.hidden, context=m.context, activation=m.activation, dropout=m.dropout)
    if m.bidirectional:
        both = _both(settings, read)
        return BothWays(types, both, answers=sizes.outputs, dropout=m.dropout)
    options: dict[str, Any] = {"answers": sizes.outputs, "dropout": m.dropout}
    if sizes.height:
        picture = (sizes.source, sizes.height, sizes.width)
        return Captioner(types, _stack(settings, read), picture=picture, **options)
    if sizes.source:
        encoder, decoder = _stack(settings, width), _stack(settings, read)
        return EncoderDecoder(
            types, decoder, encoder=encoder, source_types=sizes.source, attention=m.attention, **options
        )
    options |= {"tied": m.tied, "embedding_range": m.embedding_range}
    return Recurrent(types, _stack(settings, read), **options)


def settle(model: Network, settings: config.Config, device: torch.device) -> Network:
    """The model on its device, and each stack on the backend that is the fastest there, by name from now on."""
    model = model.to(device)
    t = settings.training
    tokens = model.embedding if isinstance(model, Recurrent) else None
    types = 0 if tokens is None else tokens.num_embeddings
    for module in model.modules():
        if isinstance(module, Stack):
            module.backend = choose(module.layers[0], module.backend, Pass(t.window, t.batch, types))
    return model


def _both(settings: config.Config, width: int) -> Bidirectional:
    m = settings.model
    both = Bidirectional(_cells(m, width), _cells(m, width), dropout=m.dropout, backend=settings.training.backend)
    initialise_(both, m.init or "default")
    return both


def _stack(settings: config.Config, width: int) -> Stack:
    m = settings.model
    stack = Stack(_cells(m, width), dropout=m.dropout, backend=settings.training.backend)
    initialise_(stack, m.init or "default")
    return stack


def _cells(m: config.Model, width: int) -> list[Cell]:
    options: dict[str, object] = {"activation": m.activation} if m.cell in ACTIVATED else {}
    if m.cell == "multi-tap":
        options["taps"] = m.taps
    return [make_cell(m.cell, size, m.hidden, **options) for size in [width] + [m.hidden] * (m.layers - 1)]


def _refuse_idle(settings: config.Config, sizes: Sizes) -> None:
    """Raises ConfigError for a key that would have no effect, or none that is meant."""
    m, task = settings.model, settings.task.name
    text = task in config.TEXTS
    for key, kind in ONLY.items():
        if m.kind != kind and _given(m, key):
            raise ConfigError(f"model.{key} is read by --model {kind} alone; leave it out.")
    if m.cell != "multi-tap" and _given(m, "taps"):
        raise ConfigError("model.taps is read by --cell multi-tap alone; leave it out.")
    if m.kind == "window" and not text:
        raise ConfigError(f"A window model reads text; it cannot learn the task {task!r}. Leave --model out.")
    idle = ("cell", "layers", "bidirectional", "tied", "embedding_range") if m.kind == "window" else ()
    if sizes.source or m.bidirectional:
        idle = (*idle, "tied", "embedding_range")
    if not sizes.source or sizes.height:
        idle = (*idle, "attention")
    for key in idle:
        if _given(m, key):
            raise ConfigError(f"model.{key} has no effect on this model of the task {task!r}; leave it out.")
    if m.bidirectional and (text or sizes.source):
        raise ConfigError("What is read from its end shows the answers; set model.bidirectional=false for this task.")


def _given(m: config.Model, key: str) -> bool:
    return bool(getattr(m, key) != getattr(config.Model(), key))


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


def load(path: str | Path, *, which: str = "best") -> Network:
    """The model of a run as an nn.Module, in evaluation mode, on the CPU.

    `which` is "best" (by validation) or "last". Raises RunError where the folder or its weights cannot be read.
    """
    run = runs.open_run(path)
    settings = run.config()
    refuse_what_counts(run)

    def read(point: checkpoint.Checkpoint) -> Network:
        with torch.random.fork_rng(devices=[]):
            model = build(settings, sizes_of(point))
        checkpoint.restore(point, model)
        return model.eval()

    return checkpoint.steadily(run.checkpoints, which, read)


def refuse_what_counts(run: Run) -> None:
    """Raises RunError for a model that is no network: there is nothing to train on, and no gradient to look at."""
    settings = run.config()
    if settings.model.kind == "naive-bayes":
        raise RunError(f"{run.path} holds a naive Bayes model, which counts: it has no gradient. Try retrograd report.")
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


def load_with_tokenizer(path: str | Path) -> tuple[LanguageModel, tokenizers.Tokenizer]:
    """The best model of a run on text, and its tokenizer. Raises RunError where they do not fit each other."""
    run = runs.open_run(path)
    if run.config().task.name not in config.TEXTS:
        raise RunError(f"{path} was not trained on text, so it can neither read nor write one.")
    model = load_counts(run) if run.config().model.kind == "ngram" else load(path)
    assert isinstance(model, Recurrent | WindowLM | NGram)  # others are refused as models of text
    tokenizer = tokenizers_of(run)[0]
    assert tokenizer is not None
    types = model.vocabulary if isinstance(model, NGram) else model.softmax.out_features
    if tokenizer.size != types:
        raise RunError(
            f"The tokenizer in {path} has {tokenizer.size} types and the model {types}; "
            f"one of the two is another run's."
        )
    return model, tokenizer


def fitted(task: Task) -> dict[str, bytes]:
    """The files that a run keeps of its task, so that its model can be asked later."""
    found = {TOKENIZER: task.tokenizer, SOURCE: task.source_tokenizer}
    files = {name: tokenizers.dump(it).encode() for name, it in found.items() if it is not None}
    return files | ({LABELS: json.dumps(task.labels).encode()} if task.labels else {})


def tokenizers_of(run: Run) -> Fitted:
    """Of what is read or written, and of the source; None where the task has none.

    Raises RunError where a file was cut, altered or swapped.
    """
    read = {name: tokenizers.load(run.kept(name)) for name in (TOKENIZER, SOURCE) if run.keeps(name)}
    if run.config().task.name in config.TEXTS and TOKENIZER not in read:
        run.kept(TOKENIZER)  # which says what is wrong
    return read.get(TOKENIZER), read.get(SOURCE)


def sizes_of(point: checkpoint.Checkpoint) -> Sizes:
    """What the model of a checkpoint reads and answers. Earlier runs wrote how large their vocabulary is."""
    told = point.info.get("sizes")
    if told is None and isinstance(point.info.get("vocabulary"), int):
        told = {"inputs": point.info["vocabulary"], "outputs": point.info["vocabulary"]}
    try:
        sizes = Sizes(**told)  # type: ignore[arg-type]
        if not (
            isinstance(sizes.inputs, int) and isinstance(sizes.outputs, int) and min(sizes.inputs, sizes.outputs) > 0
        ):
            raise TypeError(f"got {told}")
    except TypeError as error:
        raise RunError(
            f"The checkpoint {point.path} does not say what its model reads and answers ({error})."
        ) from None
    return sizes


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
