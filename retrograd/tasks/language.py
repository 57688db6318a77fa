"""Language modelling: predict each token of a text from those before it.

    J = -1/N sum_t ln P(x[t] | x[<t])      nats per token; perplexity exp(J); bits J / ln 2

Splits are given as files, or made by position: the first 90 % train, the next 5 % validate, the last 5 % test. A
text that is generated comes in its splits, and may bring minimal pairs that ask what was learned of it.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks.pairs import Pair
from retrograd.tasks.tokenizers import Byte, Tokenizer, Word, level, lines
from retrograd.tasks.window import Sizes, Stream, Window, cut, windows_in

VALIDATION_STREAMS = 16  # read side by side while training; the test text is read as one

Split = Sequence[tuple[str, bool]]  # pieces of text, and whether a document begins with each
Splits = tuple[Split, Split, Split]  # to train, validate and test


class Language:
    """A text in three splits. Raises DataError for a text that is missing, unreadable or too short."""

    hits = False  # accuracy is not the figure of a language model
    carries = True  # does the state go on from window to window?
    source_tokenizer = None
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        settings: config.Config,
        tokenizer: Tokenizer | None = None,
        *,
        splits: Splits | None = None,
        pairs: tuple[Pair, ...] = (),
        need: int | None = None,
    ) -> None:
        """`need`: how far back the text must be remembered, which only one that is generated can say."""
        self.settings, self.pairs, self.need = settings, pairs, need
        kind = level(settings.data.level)
        splits = splits or _splits(settings.data, kind)
        self.tokenizer = tokenizer or kind.fit([piece for piece, _ in splits[0]], settings.data.vocabulary)
        self.train, self.valid, self.test = (stream(split, self.tokenizer) for split in splits)
        self.fingerprint = fingerprint(splits)
        self._check()

    @property
    def carry(self) -> bool:
        """Does the state go on over a document's end?"""
        return self.settings.training.carry == "always"

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.size

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.vocabulary, self.vocabulary)

    @property
    def guess(self) -> float:
        return math.log(self.vocabulary)

    @property
    def counts(self) -> dict[str, int]:
        return {"train": len(self.train), "valid": len(self.valid), "test": len(self.test)}

    @property
    def test_tokens(self) -> int:
        return len(self.test)

    @property
    def unit(self) -> str:
        return self.tokenizer.unit

    def training(self, start: int = 0) -> Iterator[Window]:
        """Windows without end, epoch after epoch, in reading order, from the window `start` (from 0) on."""
        t = self.settings.training
        epoch, first = divmod(start, windows_in(self.train, batch=t.batch, window=t.window))
        while True:
            yield from cut(self.train, batch=t.batch, window=t.window, carry=self.carry, epoch=epoch, first=first)
            epoch, first = epoch + 1, 0

    def groups(self) -> tuple[str, Iterator[tuple[str, Iterator[Window]]]]:
        return "", iter(())

    def validation(self) -> Iterator[Window]:
        window = self.settings.training.window
        return cut(self.valid, batch=VALIDATION_STREAMS, window=window, carry=self.carry)

    def testing(self) -> Iterator[Window]:
        """The test text as one sequence: every token is counted once, with all that came before it as context."""
        return cut(self.test, batch=1, window=512, carry=self.carry)

    def probe(self) -> Window:
        """A fixed slice of the validation text, spread evenly over it: (windows * window, sequences) at the most."""
        m, carry = self.settings.measure, self.carry
        steps = min(m.windows * self.settings.training.window, len(self.valid))
        offsets = torch.linspace(0, len(self.valid) - steps, m.sequences).long()
        index = torch.arange(steps)[:, None] + offsets
        starts = None if carry else self.valid.starts[index]
        return Window(self.valid.inputs(carry=carry)[index], self.valid.ids[index], starts, 0.0)

    def _check(self) -> None:
        window = self.settings.training.window
        if self.vocabulary - len(self.tokenizer.never) < 2:
            raise DataError(
                f"The training text holds one type of {self.unit} only; a model has nothing to learn from it."
            )
        for name, split in (("training", self.train), ("validation", self.valid), ("test", self.test)):
            if len(split) < window:
                raise DataError(
                    f"The {name} text has {len(split)} {self.unit}s, fewer than the window of {window}. "
                    f"Give more text, your own --valid and --test files, or a smaller --window."
                )


def stream(split: Split, tokenizer: Tokenizer) -> Stream:
    """The split as token ids."""
    ids: list[int] = []
    starts: list[int] = []
    for piece, begins in split:
        if begins:
            starts.append(len(ids))
        ids.extend(tokenizer.encode(piece))
    marks = torch.zeros(len(ids), dtype=torch.bool)
    marks[[start for start in starts if start < len(ids)]] = True
    return Stream(torch.tensor(ids, dtype=torch.long), marks, tokenizer.first)


def read(path: str | Path, kind: type[Tokenizer]) -> str:
    """The text of one file. Bytes that are not UTF-8 are kept (as surrogates) at byte level, refused elsewhere."""
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a directory; give the text files in it, such as {path}/*.txt.")
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"No text file is at {path}. Give the paths of text files, in UTF-8.") from None
    except OSError as error:
        raise DataError(f"The text file {path} cannot be read: {error.strerror}.") from None
    if not raw:
        raise DataError(f"The text file {path} is empty. Give one with text in it.")
    if kind is Byte:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{raw[error.start]:02x}). "
            f"Convert it, or model its bytes with --level byte."
        ) from None


def documents(paths: Sequence[str], separator: str, kind: type[Tokenizer]) -> list[str]:
    """The documents in the files: each file is one, or several where a separator is given."""
    texts = [read(path, kind) for path in paths]
    if not separator:
        return texts
    return [piece for text in texts for piece in _pieces(text, separator)]


def _pieces(text: str, separator: str) -> list[str]:
    """Cut behind each separator, which stays at the end of its document: no character is lost."""
    *closed, rest = text.split(separator)
    return [*(piece + separator for piece in closed), *([rest] if rest else [])]


def fingerprint(splits: Sequence[Split]) -> str:
    """SHA-256 of the three splits, so that two runs can be told to have seen the same text."""
    digest = hashlib.sha256()
    for split in splits:
        for piece, _ in split:
            digest.update(piece.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()


def _splits(data: config.Data, kind: type[Tokenizer]) -> Splits:
    if not data.train:
        raise DataError("No text was given. Try: retrograd train notes.txt")
    texts = documents(data.train, data.document_separator, kind)
    own = [
        [(text, True) for text in documents([path], data.document_separator, kind)] if path else None
        for path in (data.valid, data.test)
    ]
    shares = (0.90 if own[1] is None else 0.95, 0.95 if own[1] is None else 1.0)
    if own[0] is not None:
        shares = (shares[1], shares[1])
    train, valid, test = by_position(texts, shares, kind)
    return train, own[0] if own[0] is not None else valid, own[1] if own[1] is not None else test


def by_position(texts: Sequence[str], shares: tuple[float, float], kind: type[Tokenizer]) -> tuple[Split, ...]:
    """Cut the texts, laid end to end, at two shares of their length: in characters, or whole lines at word level."""
    length = [_length(text, kind) for text in texts]
    first, second = (int(share * sum(length)) for share in shares)
    parts: tuple[list[tuple[str, bool]], ...] = ([], [], [])
    position = 0
    for text, n in zip(texts, length, strict=True):
        edges = [min(max(edge - position, 0), n) for edge in (0, first, second, position + n)]
        for part, begin, end in zip(parts, edges, edges[1:], strict=False):
            if end > begin:
                part.append((_slice(text, begin, end, kind), begin == 0 or not part))
        position += n
    return parts


def _length(text: str, kind: type[Tokenizer]) -> int:
    if kind is Word:
        return len(lines(text))
    return len(text.encode("utf-8", "surrogateescape")) if kind is Byte else len(text)


def _slice(text: str, begin: int, end: int, kind: type[Tokenizer]) -> str:
    if kind is Word:
        return "".join(f"{line}\n" for line in lines(text)[begin:end])
    if kind is Byte:
        return text.encode("utf-8", "surrogateescape")[begin:end].decode("utf-8", "surrogateescape")
    return text[begin:end]
