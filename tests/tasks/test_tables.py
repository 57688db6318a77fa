"""Two columns with a tab between them: what is read, and the sentence for what cannot be."""

import pytest

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks.tables import Row, by_position, rows, splits


@pytest.fixture
def table(tmp_path):
    def write(content, name="table.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def numbered(n, name="row"):
    return "".join(f"{name}\t{i}\n" for i in range(n))


def test_rows_are_numbered_from_one_and_carry_their_file(table):
    path = table("good\tnot bad\nbad\tnot good\n")
    assert rows(path) == [Row(1, "good", "not bad", path), Row(2, "bad", "not good", path)]
    assert rows(path)[1].place == f"{path}, line 2"


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfa\tb\nc\td\n", b"a\tb\r\nc\td\r\n", b"a\tb\nc\td", b"a\tb\nc\td\n\n\n", b" a \t b \nc\td\n"],
    ids=["byte order mark", "carriage returns", "no last newline", "blank last lines", "spaces around"],
)
def test_what_other_programs_write_is_read(table, content):
    assert [(row.left, row.right) for row in rows(table(content))] == [("a", "b"), ("c", "d")]


def test_line_separators_of_other_kinds_are_part_of_a_side(table):
    assert [row.right for row in rows(table("a\tone\u2028two\x0cthree\n"))] == ["one\u2028two\x0cthree"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\nno tab here\n", "line 2: expected a label and a text with a tab between them; got no tab in 'no tab"),
        ("a\tb\n\nc\td\n", "line 2: .* got no tab in ''"),
        ("a\tb\tc\n", "line 1: .* one tab between them; got 2 tabs"),
        ("a\tb\n\tc\n", "line 2: expected a label and a text; got nothing before the tab"),
        ("a\tb\nc\t \n", "line 2: expected a label and a text; got nothing behind the tab"),
        (b"a\tb\nc\t\xff\n", "line 2: expected UTF-8 text, got the byte 0xff"),
        ("", "is empty; expected one row a line: a label and a text"),
        ("\n\n", "is empty"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(table, content, message):
    path = table(content)
    with pytest.raises(DataError, match=message) as error:
        rows(path, holds="a label and a text")
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(DataError, match="No file is at"):
        rows(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="is a directory"):
        rows(tmp_path)


def test_the_last_of_a_hundred_test_and_those_before_them_validate():
    train, valid, test = by_position(range(100))
    assert (train, valid, test) == (list(range(90)), list(range(90, 95)), list(range(95, 100)))


def test_a_small_set_keeps_one_for_each_split_and_a_smaller_one_is_refused():
    assert [len(part) for part in by_position(range(10))] == [8, 1, 1]
    with pytest.raises(DataError, match="There are 9 examples, and 10 is the fewest"):
        by_position(range(9))


@pytest.mark.parametrize(
    ("given", "sizes"),
    [((), (36, 2, 2)), (("valid",), (38, 7, 2)), (("test",), (38, 2, 7)), (("valid", "test"), (40, 7, 7))],
)
def test_a_split_with_a_file_of_its_own_takes_none_of_the_training_rows(table, given, sizes):
    train = (table(numbered(30), "one.tsv"), table(numbered(10), "two.tsv"))
    own = table(numbered(7, "own"), "own.tsv")
    found = splits(config.Data(train=train, **dict.fromkeys(given, own)))
    assert tuple(map(len, found)) == sizes
    for name, part in found._asdict().items():
        assert {row.left for row in part} == {"own" if name in given else "row"}


def test_few_rows_are_enough_where_the_other_splits_are_given(table):
    own = table(numbered(1))
    assert tuple(map(len, splits(config.Data(train=(own,), valid=own, test=own)))) == (1, 1, 1)
