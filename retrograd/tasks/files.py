"""A file of examples as it is read: one clear sentence where it cannot be."""

from pathlib import Path

from retrograd.errors import DataError

SHOWN = 40  # characters of a line in a message


def content(path: Path, wanted: str) -> bytes:
    """The bytes of a file; `wanted` says what it should hold. Raises DataError."""
    if path.is_dir():
        raise DataError(f"{path} is a directory; give a file with {wanted}.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"No file is at {path}; expected one with {wanted}.") from None
    except OSError as error:
        raise DataError(f"The file {path} cannot be read: {error.strerror}.") from None


def text(path: Path, wanted: str) -> str:
    """The text of a file in UTF-8. Raises DataError, with the line of the first byte that is none."""
    raw = content(path, wanted)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: expected UTF-8 text, got the byte 0x{raw[error.start]:02x}; convert the file."
        ) from None


def short(line: str) -> str:
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."
