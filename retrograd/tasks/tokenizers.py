"""Text to token ids and back, at four levels.

char   the distinct characters of the training text, and <unk>        one token a character
word   split on white space, each line ends in <eos>, the most frequent types, the rest <unk>
byte   the 256 bytes
bpe    byte-level byte-pair encoding (Hugging Face tokenizers, an extra)
"""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from retrograd.errors import DataError, MissingExtra, RunError, UnknownName

UNKNOWN = "<unk>"
END = "<eos>"


class Tokenizer(ABC):
    level: ClassVar[str]
    unit: ClassVar[str]  # what one token is called

    @classmethod
    @abstractmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Tokenizer":
        """Learn the vocabulary of at most `size` types from the pieces of the training text."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of types V."""

    @property
    @abstractmethod
    def first(self) -> int:
        """The token that stands before the first one of a text: a line's end."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Of each type one that no other has."""

    @property
    def never(self) -> tuple[int, ...]:
        """Ids that generation must not write."""
        return ()

    @abstractmethod
    def encode(self, text: str) -> list[int]: ...

    def prompt(self, text: str) -> list[int]:
        """The ids of a text that is to be continued."""
        return self.encode(text)

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str: ...

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""

    @classmethod
    @abstractmethod
    def restore(cls, state: dict[str, Any]) -> "Tokenizer": ...


class Types(Tokenizer):
    """A tokenizer that is a list of types; unknown ones become <unk>, which stands first."""

    def __init__(self, types: Sequence[str]) -> None:
        self.types = list(types)
        self.ids = {type_: i for i, type_ in enumerate(self.types)}
        self.unknown = self.ids[UNKNOWN]

    @property
    def size(self) -> int:
        return len(self.types)

    @property
    def names(self) -> Sequence[str]:
        return self.types

    @property
    def never(self) -> tuple[int, ...]:
        return (self.unknown,)

    def state(self) -> dict[str, Any]:
        return {"types": self.types}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Tokenizer":
        return cls(state["types"])


class Char(Types):
    level = "char"
    unit = "character"

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Char":
        return cls([UNKNOWN, *sorted(set().union(*texts))])

    @property
    def first(self) -> int:
        return self.ids.get("\n", self.unknown)

    def encode(self, text: str) -> list[int]:
        return [self.ids.get(character, self.unknown) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("\ufffd" if i == self.unknown else self.types[i] for i in ids)


class Word(Types):
    level = "word"
    unit = "word"

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Word":
        counts = Counter(word for text in texts for word in _words(text))
        counts.pop(UNKNOWN, None)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([UNKNOWN, END, *(word for word in ranked if word != END)][:size])

    @property
    def first(self) -> int:
        return self.ids[END]

    def encode(self, text: str) -> list[int]:
        unknown, ids = self.unknown, self.ids
        return [ids.get(word, unknown) for word in _words(text)]

    def prompt(self, text: str) -> list[int]:
        ids = self.encode(text)
        return ids if text.endswith("\n") else ids[:-1]

    def decode(self, ids: Sequence[int]) -> str:
        words = ("\n" if self.types[i] == END else self.types[i] for i in ids)
        return " ".join(words).replace(" \n ", "\n").replace(" \n", "\n").replace("\n ", "\n")


class Byte(Tokenizer):
    level = "byte"
    unit = "byte"
    size = 256
    first = ord("\n")
    names = tuple(f"<0x{i:02X}>" for i in range(256))

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Byte":
        return cls()

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "surrogateescape"))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("utf-8", "replace")

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Byte":
        return cls()


class Bpe(Tokenizer):
    level = "bpe"
    unit = "piece"

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def fit(cls, texts: Sequence[str], size: int) -> "Bpe":
        hf = _hugging_face()
        if size < 257:
            raise DataError(f"A bpe vocabulary needs at least 257 types, one a byte and one more; got {size}.")
        tokenizer = hf.Tokenizer(hf.models.BPE())
        tokenizer.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = hf.decoders.ByteLevel()
        alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
        trainer = hf.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator((line for text in texts for line in text.splitlines(keepends=True)), trainer)
        return cls(tokenizer)

    @property
    def size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    @property
    def first(self) -> int:
        return self.encode("\n")[0]

    @property
    def names(self) -> Sequence[str]:
        return [str(self.tokenizer.id_to_token(i)) for i in range(self.size)]

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids)))

    def state(self) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer.to_str()}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Bpe":
        return cls(_hugging_face().Tokenizer.from_str(state["tokenizer"]))


LEVELS: dict[str, type[Tokenizer]] = {"char": Char, "word": Word, "byte": Byte, "bpe": Bpe}


def lines(text: str) -> list[str]:
    """The lines of a text without their newline; form feeds and the like are white space, no line ends."""
    return text.removesuffix("\n").split("\n") if text else []


def _words(text: str) -> Iterator[str]:
    return (word for line in lines(text) for word in (*line.split(), END))


def level(name: str) -> type[Tokenizer]:
    """The tokenizer of that name. Raises UnknownName."""
    if name not in LEVELS:
        raise UnknownName("level", name, LEVELS)
    return LEVELS[name]


def dump(tokenizer: Tokenizer) -> str:
    """JSON, from which `load` has the tokenizer back."""
    return json.dumps({"level": tokenizer.level, **tokenizer.state()})


def load(path: Path) -> Tokenizer:
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return level(state["level"]).restore(state)
    except FileNotFoundError:
        raise RunError(f"The run has no {path.name} (expected at {path}); it was not trained on text.") from None
    except (KeyError, TypeError, ValueError, UnknownName) as error:
        raise RunError(f"{path} is not a tokenizer as retrograd writes it ({type(error).__name__}: {error}).") from None


def _hugging_face() -> Any:
    try:
        import tokenizers
        from tokenizers import decoders, models, pre_tokenizers, trainers  # noqa: F401
    except ImportError:
        raise MissingExtra("Level bpe", "bpe") from None
    return tokenizers


Fitted = tuple[Tokenizer | None, Tokenizer | None]  # of a task and of its source, fitted before
NONE: Fitted = (None, None)
