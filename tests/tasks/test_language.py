"""A text in three splits, read from files or cut by position, and refused where nothing can be learned."""

import pytest
import torch

from retrograd import config
from retrograd.errors import DataError
from retrograd.tasks.language import Language, by_position
from retrograd.tasks.pairs import Pair
from retrograd.tasks.tokenizers import Byte, Char, Word
from retrograd.tasks.window import IGNORED

TEXT = "".join(f"line {i} of a small text, written to be cut\n" for i in range(200))


def language(tmp_path, text=TEXT, **changes):
    (tmp_path / "text.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    values = config.merge({"data": {"train": [str(tmp_path / "text.txt")]}, "training": {"window": 16}}, changes)
    return Language(config.make(values))


@pytest.mark.parametrize("level", ["char", "byte"])
def test_the_splits_are_90_5_5_by_position_and_lose_nothing(tmp_path, level):
    task = language(tmp_path, data={"level": level})
    n = len(TEXT)
    assert [len(task.train), len(task.valid), len(task.test)] == [
        int(0.9 * n),
        int(0.95 * n) - int(0.9 * n),
        n - int(0.95 * n),
    ]
    ids = torch.cat([task.train.ids, task.valid.ids, task.test.ids]).tolist()
    assert task.tokenizer.decode(ids) == TEXT


def test_words_are_cut_at_lines(tmp_path):
    task = language(tmp_path, data={"level": "word"})
    assert [int((s.ids == task.tokenizer.first).sum()) for s in (task.train, task.valid, task.test)] == [180, 10, 10]


def test_own_validation_and_test_files_leave_the_training_text_whole(tmp_path):
    for name in ("valid", "test"):
        (tmp_path / f"{name}.txt").write_text(name + TEXT[:500])
    task = language(tmp_path, data={"valid": str(tmp_path / "valid.txt"), "test": str(tmp_path / "test.txt")})
    assert (len(task.train), len(task.valid), len(task.test)) == (len(TEXT), 505, 504)


def test_one_own_file_leaves_95_percent_for_training(tmp_path):
    (tmp_path / "test.txt").write_text(TEXT)
    task = language(tmp_path, data={"test": str(tmp_path / "test.txt")})
    assert len(task.train) == int(0.95 * len(TEXT))
    assert len(task.train) + len(task.valid) == len(TEXT)


def test_the_vocabulary_is_the_training_texts_own(tmp_path):
    task = language(tmp_path, text=TEXT + "\u00df" * 20)
    assert "\u00df" not in task.tokenizer.types
    assert int((task.test.ids == task.tokenizer.unknown).sum()) == 20


def test_the_test_text_is_read_as_one_sequence_with_every_token_counted(tmp_path):
    task = language(tmp_path)
    windows = list(task.testing())
    assert {w.targets.shape[1] for w in windows} == {1}
    assert sum(int((w.targets != IGNORED).sum()) for w in windows) == len(task.test)


def test_a_text_that_comes_in_its_splits_is_read_as_it_stands():
    train, valid, test = ([(f"{line} {name}\n", True) for line in TEXT.splitlines()[:20]] for name in ("a", "b", "c"))
    pair = Pair("line 1 of a small", "text", "line", "order")
    settings = config.make({"data": {"level": "word"}, "training": {"window": 16}})
    task = Language(settings, splits=(train, valid, test), pairs=(pair,), need=7)
    read = [task.tokenizer.decode(split.ids.tolist()) for split in (task.train, task.valid, task.test)]
    assert read[0] == "".join(piece for piece, _ in train)
    assert read[1] == "".join(piece for piece, _ in valid).replace(" b\n", " <unk>\n")
    assert [int(split.starts.sum()) for split in (task.train, task.valid, task.test)] == [20, 20, 20]
    assert (task.pairs, task.need) == ((pair,), 7)
    assert Language(settings, splits=(train, valid, valid)).fingerprint != task.fingerprint


def test_a_text_in_files_says_neither_how_far_back_it_reaches_nor_what_to_ask(tmp_path):
    task = language(tmp_path)
    assert (task.pairs, task.need) == ((), None)


def test_documents_begin_at_files_and_separators():
    cut = by_position(["abcd", "efghij"], (0.5, 0.8), Char)
    assert cut == ([("abcd", True), ("e", True)], [("fgh", True)], [("ij", True)])


@pytest.mark.parametrize(("kind", "unit"), [(Char, "a"), (Byte, "a"), (Word, "a\n")])
def test_no_share_of_any_text_is_lost(kind, unit):
    texts = [unit * n for n in (1, 2, 50, 3)]
    parts = by_position(texts, (0.9, 0.95), kind)
    assert "".join(text for part in parts for text, _ in part) == "".join(texts)


def test_two_runs_of_one_text_have_one_fingerprint(tmp_path):
    assert language(tmp_path).fingerprint == language(tmp_path).fingerprint
    assert language(tmp_path).fingerprint != language(tmp_path, text=TEXT + "!").fingerprint


def test_the_probe_is_a_fixed_slice_of_four_windows(tmp_path):
    task = language(tmp_path)
    probe = task.probe()
    assert probe.inputs.shape == (64, 8)
    assert torch.equal(probe.inputs[1:], probe.targets[:-1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("aaaa" * 500, "holds one type of character only"),
        ("a short text", "fewer than the window of 16"),
        (b"abc\xff\xfe" * 100, r"is not UTF-8 text \(byte 3 is 0xff\).*--level byte"),
    ],
)
def test_a_text_with_nothing_to_learn_is_refused_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        language(tmp_path, text=text)


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path):
    for path, sentence in ((tmp_path / "none.txt", "No text file is at"), (tmp_path, "is a directory")):
        with pytest.raises(DataError, match=sentence):
            Language(config.make({"data": {"train": [str(path)]}}))
    with pytest.raises(DataError, match="No text was given"):
        Language(config.make({}))


def test_a_separator_stays_at_the_end_of_its_document(tmp_path):
    task = language(tmp_path, data={"document_separator": "\n"})
    ids = torch.cat([task.train.ids, task.valid.ids, task.test.ids]).tolist()
    assert task.tokenizer.decode(ids) == TEXT
    assert int(task.train.starts.sum()) > 100


def test_the_probe_is_of_the_validation_text_however_short_that_is(tmp_path):
    task = language(tmp_path, text=TEXT[:1000])
    probe = task.probe()
    assert len(task.valid) == 50
    assert probe.inputs.shape == (50, 8)
    assert torch.equal(probe.targets[:, 0], task.valid.ids)


def test_the_probe_forgets_at_document_ends_where_training_does(tmp_path):
    separated = {"document_separator": "\n"}
    carried = language(tmp_path, data=separated).probe()
    reset = language(tmp_path, data=separated, training={"carry": "document"}).probe()
    assert carried.starts is None
    assert reset.starts is not None
    assert bool(reset.starts.any())
    first = language(tmp_path).tokenizer.first
    assert bool((reset.inputs[reset.starts] == first).all())
