"""What a run is made of. TOML in, TOML out; a key that does not exist is refused with the nearest one that does.

    file (--config)  <-  everyday flags  <-  --set a.b=c       the later wins
    the result, with nothing left open, is `config.toml` of the run, and runs again as it stands

Keys and types are checked here; names of cells, tasks, levels and initialisers where their dicts are.
"""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retrograd.errors import ConfigError, nearest

BUDGETS = {"minutes", "steps", "epochs"}
TEXTS = ("language", "agreement")  # tasks of one long text, read in windows, that a model of it can also write
NO_TEXT: dict[str, dict[str, Any]] = {"model": {"hidden": 128, "dropout": 0.0}, "training": {"batch": 32}}
USUAL: dict[str, dict[str, dict[str, Any]]] = {
    "language": {},
    "agreement": {
        "data": {"level": "word"},
        "model": {"hidden": 128, "dropout": 0.0},
        "training": {"lr": 0.01},
    },
    "translation": {
        "data": {"level": "word", "vocabulary": 6_000},
        "model": {"hidden": 256, "embedding": 128, "dropout": 0.2},
        "training": {"batch": 32, "lr": 0.002},
    },
    "captioning": {
        "data": {"level": "word"},
        "model": {"hidden": 128, "dropout": 0.0},
        "training": {"batch": 32, "lr": 0.002},
    },
}
UNKNOWN = "unknown"  # of a watched training, which is somebody's own
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]  # of what is made: more would take hours, or all memory
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """The text of a language model. Without `valid` and `test` the text is split by position, 90 / 5 / 5."""

    train: tuple[str, ...] = ()
    valid: str | None = None
    test: str | None = None
    level: str = "char"
    vocabulary: Annotated[int, Field(ge=3)] = 10_000  # the largest number of types, at word and bpe level
    document_separator: str = ""  # a document ends at each file's end, and at this text where it is given


class Task(Section):
    """What is learned. What `length` counts, and what an absent key stands for, is said by each task (tasks/)."""

    name: str = "language"
    length: Annotated[int, Field(gt=0, le=100_000)] | None = None
    symbols: Annotated[int, Field(ge=2, le=100_000)] | None = None  # distinct ones to be remembered
    examples: Count | None = None  # to train on, of a set that is generated
    held_out: Count | None = None  # pairs or pictures to validate, and as many to test: the last of a file's
    bits: Annotated[int, Field(ge=2, le=3)] | None = None  # symbols whose temporal order is asked
    permuted: bool = False  # the pixels of an image (digits) in one random order, the same for all images


class Model(Section):
    """The defaults of this and the next section, for a text, were chosen by measurement: benchmarks/LOG.md."""

    kind: str = "recurrent"  # or window, ngram, naive-bayes; the last two count, and read `order` or nothing here
    order: Annotated[int, Field(ge=1, le=6)] = 5  # of an n-gram model: it looks back one token less
    context: Annotated[int, Field(ge=1, le=64)] = 4  # tokens that a window model reads to predict the next
    cell: str = "lstm"
    activation: str = "tanh"  # of an elman, additive or multi-tap cell
    taps: tuple[Positive, ...] = (1, 4)  # of a multi-tap cell: it reads what it put out so many steps ago
    hidden: Positive = 512  # 128 for a task that is no text
    layers: Positive = 1
    attention: bool = False  # does a decoder look at each step of its source, and not at the last state alone?
    bidirectional: bool = False  # as many again read from the end; for a task whose sequences are there as a whole
    embedding: Positive | None = None  # None: as wide as the hidden layer when tied, else the smaller of it and 64
    dropout: Share = 0.15  # on each layer's way up, never from step to step; 0 for a task that is no text
    tied: bool = False  # the softmax uses the embedding's matrix
    weights: str | None = None  # a file of tensors to start from: .safetensors, or .pt read as tensors only
    init: str | None = None  # such as orthogonal+forget_bias=3; None: forget_bias=1 for an LSTM, else default
    embedding_range: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = (
        None  # uniform in +- this; None: torch's
    )

    @property
    def name(self) -> str:
        """In a list: "lstm 1x512", "5-gram"; empty where it is somebody's own."""
        if self.kind == "ngram":
            return f"{self.order}-gram"
        if self.kind == "naive-bayes":
            return self.kind
        if self.kind == "window":
            return f"window {self.context}x{self.hidden}"
        return "" if self.cell == UNKNOWN else f"{self.cell} {self.layers}x{self.hidden}"


class Training(Section):
    window: Positive = 64
    batch: Positive = 16  # 32 for a task that is no text
    optimizer: str = "adamw"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-3
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9  # of nesterov
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] | None = None  # of matrices only; None: 0.1 for adamw, else 0
    clip_norm: Annotated[float, Field(ge=0)] = 1.0  # 0: off
    clip_value: Annotated[float, Field(ge=0)] = 0.0  # 0: off
    remedy: str | None = None  # what a step does besides: norm-preserving=1 (of MSGD-CR), clip-in-time=0.1
    reduction: Literal["token", "sequence"] = "token"  # the loss: mean per token, or summed over a window's steps
    schedule: str = "cosine"
    warmup: Share = 0.02  # of the budget
    divide_by: Annotated[float, Field(gt=0)] = 2.0  # schedule "divide": each epoch
    divide_after: Annotated[int, Field(ge=0)] = 4  # ... after this many
    minutes: Annotated[float, Field(gt=0)] | None = None
    steps: Positive | None = None
    epochs: Positive | None = None
    validate_every: Positive | None = None  # steps; None: ten times in a run
    patience: Positive | None = None  # validations without a better figure before stopping early; None: never
    tolerance: Positive = (
        3  # without a finite loss or gradient: skipped; so many in a row, or one in three for long: training goes back
    )
    returns: Annotated[int, Field(ge=0)] = 5  # times that it may go back to a checkpoint; 0: never
    return_factor: Annotated[float, Field(gt=0, lt=1)] = 0.25  # of the learning rate, each time
    carry: Literal["always", "document"] = "always"  # the state goes on over a document's end, or starts at zero
    backend: str = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None  # None: torch's own choice
    device: str = "auto"

    @model_validator(mode="after")
    def _one_budget(self) -> "Training":
        given = [name for name in ("minutes", "steps", "epochs") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of minutes, steps and epochs; got {' and '.join(given)}")
        return self


class Measure(Section):
    """How the gradient's reach is measured while training, on a fixed slice of the validation text."""

    every: Annotated[int, Field(ge=0)] = 200  # steps; 0: only at the start and at the end
    windows: Annotated[int, Field(ge=4)] = 4  # length of the slice
    sequences: Annotated[int, Field(ge=2)] = 8
    anchors: Positive = 4
    share: Annotated[float, Field(gt=0)] = 0.02  # of the training time, at most


class Config(Section):
    task: Task = Task()
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    measure: Measure = Measure()

    @model_validator(mode="before")
    @classmethod
    def _by_task(cls, values: Any) -> Any:
        """`task = "adding"` is a task by its name; [recall] with its gap is how earlier runs wrote theirs. What is not
        said of the model and its training goes by the task."""
        if not isinstance(values, Mapping):
            return values
        values = _named(values)
        if isinstance(old := values.get("recall"), Mapping):
            del values["recall"]
            renamed = {"length" if key == "gap" else key: value for key, value in old.items()}
            task = values.get("task", {})
            if isinstance(task, Mapping) and task.get("name") == "recall":
                values["task"] = renamed | dict(task)
        if isinstance(task := values.get("task"), Mapping):
            for section, usual in USUAL.get(str(task.get("name", "language")), NO_TEXT).items():
                given = values.get(section, {})
                values[section] = usual | dict(given) if isinstance(given, Mapping) else given
        return values


def make(values: Mapping[str, Any]) -> Config:
    """A checked Config from nested dicts. Raises ConfigError with one sentence for the first thing wrong."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from None


def read(path: str | Path) -> dict[str, Any]:
    """The nested dict in a TOML file."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"No config file is at {path}. It is a TOML file, such as a run's config.toml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file {path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from None


def dump(config: Config) -> str:
    """The config as TOML, every key written out; None is an absent key."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section. A new budget replaces the old one."""
    merged = _named(base)
    for key, value in _named(changes).items():
        both_are_sections = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both_are_sections else value
    if BUDGETS & changes.keys():
        for stale in BUDGETS - changes.keys():
            merged.pop(stale, None)
    return merged


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    """With `task = "adding"` as the section that it is short for."""
    task = values.get("task")
    return {**values, "task": {"name": task}} if isinstance(task, str) else dict(values)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Every key in full.

    >>> flat({"model": {"hidden": 256}})
    {'model.hidden': 256}
    """
    keys: dict[str, Any] = {}
    for name, value in values.items():
        keys |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return keys


def assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """Nested dict from `a.b=c` texts; c is read as TOML, and as plain text where it is none.

    >>> assignments(["model.hidden=256", "training.optimizer=sgd"])
    {'model': {'hidden': 256}, 'training': {'optimizer': 'sgd'}}
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes section.key=value, such as model.hidden=256; got {pair!r}.")
        value: Any = _toml_value(text.strip())
        *sections, name = key.strip().split(".")
        inner = values
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set gives {section!r} both a value and keys of its own: {pair!r}.")
        inner[name] = value
    return values


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return _unknown_key(path)
    came = "" if first["type"] == "value_error" else f" got {first['input']!r}."
    reason = first["msg"].removeprefix("Value error, ").replace("Input should", "it should").rstrip(".")
    return f"The config key {key} does not fit: {reason};{came}" if came else f"In [{key}], {reason}."


def _unknown_key(path: list[str]) -> str:
    section: type[BaseModel] = Config
    for part in path[:-1]:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    everywhere = {
        name: f"{outer}.{name}"
        for outer, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        for name in field.annotation.model_fields
    }
    near = nearest(path[-1], [*section.model_fields, *everywhere])
    if near in section.model_fields:
        hint = f"the nearest is {'.'.join([*path[:-1], near])}"
    else:
        hint = f"the nearest is {everywhere[near]}" if near else f"there are: {', '.join(section.model_fields)}"
    return f"There is no config key {'.'.join(path)}; {hint}."
