"""Reading a file of examples: what cannot be read is said in one sentence, with the line of a byte that is no text."""

import pytest

from retrograd.errors import DataError
from retrograd.tasks.files import content, short, text


def test_a_file_is_read_as_it_is_and_a_mark_of_its_encoding_is_dropped(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbfa\tb\r\n")
    assert text(tmp_path / "a.tsv", "rows") == "a\tb\r\n"
    assert content(tmp_path / "a.tsv", "rows") == b"\xef\xbb\xbfa\tb\r\n"


def test_what_cannot_be_read_is_named_with_what_was_wanted(tmp_path):
    for path, sentence in (
        (tmp_path, "is a directory; give a file with"),
        (tmp_path / "no", "No file is at .*one with"),
    ):
        with pytest.raises(DataError, match=f"{sentence} rows of two"):
            content(path, "rows of two")


def test_a_byte_that_is_no_text_has_its_line(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"a\nb\nc\xfc\n")
    with pytest.raises(DataError, match=r"a\.tsv, line 3: expected UTF-8 text, got the byte 0xfc"):
        text(tmp_path / "a.tsv", "rows")


def test_a_long_line_is_shown_by_its_beginning():
    assert short("x" * 40) == "x" * 40
    assert short("x" * 41) == "x" * 40 + "..."
