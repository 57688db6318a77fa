"""A folder's SHA256SUMS: were its files cut, altered or swapped since they were written? As sha256sum --check reads it.

A checksum is no signature: who may write the folder may write the sums. It tells damage and mix-ups.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from retrograd.errors import RunError

SUMS = "SHA256SUMS"
REMEDY = "Copy it back from where it is whole, or train again with --config."


def lines(files: Iterable[tuple[str, bytes]]) -> str:
    """The text of SHA256SUMS for files of these names and contents."""
    return "".join(f"{hashlib.sha256(raw).hexdigest()}  {name}\n" for name, raw in files)


def check(folder: Path, *names: str) -> None:
    """Compare files with their checksums. Raises RunError with the name of one that is missing, or differs."""
    try:
        told = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{folder} cannot be verified: its {SUMS} cannot be read ({reason}). {REMEDY}") from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in told)}
    for file in (folder / name for name in names):
        if not file.is_file() or file.is_symlink():
            raise RunError(f"{file} is missing, or a link; it was written with the rest of its folder. {REMEDY}")
        if _sum(file) != sums.get(file.name):
            raise RunError(f"{file} was cut or altered since it was written: its checksum differs. {REMEDY}")


def tells_of(folder: Path, name: str) -> bool:
    """Does the folder's SHA256SUMS, where it can be read, tell of such a file?"""
    try:
        told = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    return any(line.partition("  ")[2] == name for line in told)


def _sum(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}.") from None
