"""Sentences from runs: what is written is what a search over the model's own scores gives, for texts and pictures."""

import shutil

import pytest
import torch
from PIL import Image

from retrograd import config
from retrograd.errors import ConfigError, DataError, RunError
from retrograd.experiments import sentences
from retrograd.experiments.build import load, tokenizers_of
from retrograd.experiments.sentences import caption, decoded, translate
from retrograd.experiments.training import train
from retrograd.runs import Run
from retrograd.tasks import make_task, written
from retrograd.tasks.captioning import captioned, write
from retrograd.tasks.translation import pairs, source_ids

SMALL = {
    "model": {"hidden": 24, "embedding": 12, "dropout": 0.0},
    "training": {"steps": 150, "batch": 16, "lr": 0.02},
    "measure": {"every": 0},
}
TRANSLATION = {"name": "translation", "examples": 300, "held_out": 20}
CAPTIONING = {"name": "captioning", "examples": 120, "held_out": 12}


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    return train(config.make(SMALL | {"task": TRANSLATION}), out=tmp_path_factory.mktemp("runs") / "t").run.path


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    return train(config.make(SMALL | {"task": CAPTIONING}), out=tmp_path_factory.mktemp("runs") / "c").run.path


@pytest.fixture
def pictures(tmp_path):
    _, _, test = captioned(config.make({"task": CAPTIONING}))
    write(tmp_path / "set", test[:4])
    return sorted((tmp_path / "set").glob("*.png"))


def by_hand(model, source, tokenizer):
    """The likeliest token each time, the whole sentence read again from its beginning."""
    tokens = [tokenizer.first]
    with torch.no_grad():
        while len(tokens) <= written.longest(tokenizer):
            scores = model(torch.tensor(tokens)[:, None], source=source)[0][-1, 0]
            scores[list(tokenizer.never)] = -torch.inf
            if int(scores.argmax()) == tokenizer.first:
                break
            tokens.append(int(scores.argmax()))
    return written.text_of(tokens[1:], tokenizer)


def test_translations_are_what_the_model_says_read_one_by_one(translator):
    task = make_task(config.make({"task": TRANSLATION}))
    texts = [row.left for row in pairs(config.make({"task": TRANSLATION})).test[:6]]
    expected = [
        by_hand(load(translator), source_ids(text, task.source_tokenizer)[:, None], task.tokenizer) for text in texts
    ]
    assert len(set(expected)) > 2
    assert translate(translator, texts) == expected
    assert [translate(translator, [text])[0] for text in texts] == expected


def test_captions_are_what_the_model_says_of_each(captioner, pictures):
    task = make_task(config.make({"task": CAPTIONING}))
    model = load(captioner)
    expected = [by_hand(model, e.source[None], task.tokenizer) for e in task.collection.test[:4]]
    assert caption(captioner, pictures) == expected
    assert caption(captioner, [str(file) for file in pictures], beam=1) == expected


def test_an_empty_line_stays_empty_in_its_place(translator):
    texts = ["", "one hundred", "  ", "3 May 1990"]
    found = translate(translator, texts)
    assert (found[0], found[2]) == ("", "")
    assert found[1::2] == translate(translator, texts[1::2])


@pytest.mark.parametrize("beam", [1, 3])
def test_unknown_words_are_read_and_never_written_not_even_where_they_are_the_likeliest(translator, beam):
    task = make_task(config.make({"task": TRANSLATION}))
    model = load(translator)
    [unknown] = task.tokenizer.never
    with torch.no_grad():
        model.softmax.bias[unknown] += 20
    asked = [source_ids(text, task.source_tokenizer) for text in ("zebra", "zebra 9 xyz", "3 May 1990")]
    assert all("unk" not in text for text in sentences.write(model, asked, task.tokenizer, beam=beam))


def test_a_wider_beam_is_at_least_as_likely(translator):
    task = make_task(config.make({"task": TRANSLATION}))
    model, texts = load(translator), ["one hundred six", "3 May 1990", "14 March 1952"]
    wide, narrow = translate(translator, texts, beam=8), translate(translator, texts)

    def mean_ln_p(text, said):
        e = written.example(source_ids(text, task.source_tokenizer), said, task.tokenizer)
        with torch.no_grad():
            ln_p = model(e.inputs[:, None], source=e.source[:, None])[0][:, 0].log_softmax(-1)
        return float(ln_p.gather(1, e.targets[:, None]).mean())

    ended = [pair for pair in zip(texts, wide, narrow, strict=True) if len(pair[2].split()) < 90]
    assert ended
    for text, one, other in ended:
        assert mean_ln_p(text, one) >= mean_ln_p(text, other) - 1e-5


def test_the_test_set_is_scored_as_a_users_own_sentences_are(translator, captioner):
    task = make_task(config.make({"task": TRANSLATION}))
    result = decoded(load(translator), task)
    rows = pairs(config.make({"task": TRANSLATION})).test
    said = translate(translator, [row.left for row in rows])
    assert result.figures["exact match"] == sum(h == r.right for h, r in zip(said, rows, strict=True)) / len(rows)
    assert [(s.source, s.output, s.reference) for s in result.samples] == [
        (row.left, text, row.right) for row, text in zip(rows, said, strict=True)
    ][: len(result.samples)]
    assert result.samples
    assert 0 <= decoded(load(captioner), make_task(config.make({"task": CAPTIONING}))).figures["exact match"] <= 1


def test_what_is_scored_is_the_test_set_that_was_read_at_the_start(translator, tmp_path):
    file = tmp_path / "pairs.tsv"
    lines = [f"{row.left}\t{row.right}\n" for row in pairs(config.make({"task": TRANSLATION})).train[:40]]
    file.write_text("".join(lines))
    task = make_task(
        config.make({"task": "translation", "data": {"train": [str(file)]}}), tokenizers_of(Run(translator))
    )
    asked = [sample.reference for sample in decoded(load(translator), task).samples]
    file.write_text("".join(lines[:30]))  # while it trained
    assert [sample.reference for sample in decoded(load(translator), task).samples] == asked


@pytest.mark.extra
def test_bleu_comes_with_its_signature(translator):
    task = make_task(config.make({"task": TRANSLATION}))
    result = decoded(load(translator), task, beam=2)
    assert 0 <= result.figures["BLEU"] <= 100
    assert "tok:13a" in result.signature


def test_writing_leaves_mode_and_random_state_alone(translator):
    task = make_task(config.make({"task": TRANSLATION}))
    model = load(translator).train()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sentences.write(model, [source_ids("3 May 1990", task.source_tokenizer)], task.tokenizer, beam=3)
    assert model.training
    assert torch.equal(torch.rand(1), expected)


class TestBadInput:
    def test_a_run_of_another_task(self, translator, captioner, trained, pictures):
        with pytest.raises(RunError, match="trained on the task 'captioning'; expected a run of translation"):
            translate(captioner, ["a"])
        with pytest.raises(RunError, match="trained on the task 'language'; expected a run of captioning"):
            caption(trained.run.path, pictures)

    @pytest.mark.parametrize("beam", [0, -1, 101])
    def test_a_beam_out_of_range(self, translator, beam):
        with pytest.raises(ConfigError, match=f"from 1 to 100 wide; got {beam}"):
            translate(translator, ["3 May 1990"], beam=beam)

    def test_a_picture_of_another_size(self, captioner, tmp_path):
        Image.new("RGB", (20, 10)).save(tmp_path / "p.png")
        with pytest.raises(DataError, match="is 20 x 10 in colour, and the model knows 32 x 32 in colour"):
            caption(captioner, [tmp_path / "p.png"])

    def test_a_picture_that_is_missing_or_none(self, captioner, tmp_path):
        with pytest.raises(DataError, match="No picture is at"):
            caption(captioner, [tmp_path / "none.png"])
        (tmp_path / "text.png").write_text("no picture")
        with pytest.raises(DataError, match="is no picture that can be read"):
            caption(captioner, [tmp_path / "text.png"])

    def test_another_runs_tokenizer(self, translator, tmp_path):
        run = shutil.copytree(translator, tmp_path / "run")
        shutil.copy(run / "tokenizer.json", run / "source_tokenizer.json")
        with pytest.raises(RunError):
            translate(run, ["3 May 1990"])
