"""A run that counts: its folder, what can be asked of it afterwards, and what cannot."""

import math
import pydoc_data.topics

import numpy as np
import pytest

import retrograd as rg
from retrograd import runs
from retrograd.errors import ConfigError, RunError, UnknownName, UsageError
from retrograd.experiments import inspection
from retrograd.experiments.archive.verification import verify
from retrograd.experiments.build import load_with_tokenizer
from retrograd.experiments.counting import read, to_arpa
from retrograd.tasks.language import Language, stream
from tests.models.test_arpa import score, tables

ENGLISH = "\n".join(list(pydoc_data.topics.topics.values())[:30])


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counting")
    (folder / "notes.txt").write_text(ENGLISH)
    settings = rg.make_config(
        {"data": {"train": [str(folder / "notes.txt")], "level": "word"}, "model": {"kind": "ngram", "order": 3}}
    )
    return rg.train(settings, out=folder / "run")


def settings_of(result, **model):
    values = result.run.config().model_dump(exclude_none=True)
    return rg.make_config(values | {"model": values["model"] | model})


def test_its_figures_are_those_of_every_test_token_read_once(counted):
    task = Language(counted.run.config())
    model, _ = load_with_tokenizer(counted.run.path)
    ids = task.test.ids.tolist()
    nats = -np.mean([math.log(model.next(ids[:t])[ids[t]]) for t in range(0, len(ids))])
    assert counted.test.loss == pytest.approx(nats, rel=1e-10)
    assert counted.report.figures["perplexity"] == pytest.approx(math.exp(nats))
    assert counted.report.figures["test tokens"] == counted.test.tokens == len(task.test)
    (grid,) = counted.report.grids.values()
    assert grid.heads[:2] == ("order", "perplexity")
    assert [row[0] for row in grid.rows] == [1, 2, 3]
    assert grid.rows[2][1] == pytest.approx(math.exp(nats))


def test_it_is_counted_and_split_as_a_recurrent_run_on_the_same_text(counted, tmp_path):
    text = counted.run.config().data.train[0]
    small = {"hidden": 4, "embedding": 4}
    values = {"data": {"train": [text], "level": "word"}, "model": small, "training": {"steps": 1, "window": 16}}
    other = rg.train(rg.make_config(values), out=tmp_path / "lstm")
    assert other.test.tokens == counted.test.tokens
    first = [next(e["data"] for e in result.run.events() if e["event"] == "started") for result in (counted, other)]
    assert first[0] == first[1]


def test_the_folder_is_a_run_that_runs_again_as_it_stands(counted, tmp_path):
    again = rg.train(counted.run.config(), out=tmp_path / "again")
    assert again.report.figures == counted.report.figures
    assert again.sample == counted.sample
    assert (again.run.path / "ngram.safetensors").read_bytes() == (counted.run.path / "ngram.safetensors").read_bytes()
    assert counted.run.status() == "finished"
    assert verify(counted.run.path).whole
    assert inspection.read_report(counted.run.path) == counted.report
    html, shown = (counted.run.path / "report.html").read_text(), repr(counted.report)
    for page in (html, shown):
        assert "What each order is worth" in page
        assert "share never seen" in page
    assert "<h2>Not measured" not in html
    assert "not measured" not in shown


def test_it_reads_another_text_and_writes_one(counted, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("The object is a number.\nIt is called.\n")
    model, tokenizer = load_with_tokenizer(counted.run.path)
    told = inspection.evaluate_text(counted.run.path, [str(other)])
    whole = read(model, stream([(other.read_text(), True)], tokenizer), carry=True)
    assert told["test nats"] == pytest.approx(whole.loss)
    written = [rg.generate(counted.run.path, prompt="The object", length=12, seed=3) for _ in range(2)]
    assert written[0] == written[1]
    assert written[0].startswith("The object")


def test_where_documents_begin_is_learned_and_written(tmp_path):
    text = tmp_path / "lines.txt"
    text.write_text("".join(f"Once there was a {'cat' if i % 3 else 'dog'} .\n" for i in range(400)))
    values = {
        "data": {"train": [str(text)], "level": "word", "document_separator": "\n"},
        "model": {"kind": "ngram", "order": 3},
        "training": {"carry": "document"},
    }
    result = rg.train(rg.make_config(values), out=tmp_path / "run")
    assert result.sample.startswith("Once there was a")
    written = [rg.generate(result.run.path, length=5, seed=seed) for seed in range(5)]
    assert all(line.split()[0] == "Once" for line in written)
    task = Language(result.run.config())
    model, _ = load_with_tokenizer(result.run.path)
    starts = task.test.starts.numpy()
    assert result.test.loss == pytest.approx(-model.log_probabilities(task.test.ids.numpy(), starts).mean())
    assert result.test.loss < 0.5


def test_its_arpa_file_tells_the_same_probabilities(counted, tmp_path):
    file = to_arpa(counted.run.path, tmp_path / "deep" / "model.arpa")
    _, found = tables(file.read_text().splitlines())
    task, names = Language(counted.run.config()), load_with_tokenizer(counted.run.path)[1].names
    ids = task.test.ids.tolist()[:60]
    words = ["<s>", *(names[i] for i in ids)]
    nats = [-score(found, words[max(t - 1, 0) : t + 1], words[t + 1]) * math.log(10) for t in range(len(ids))]
    model, _ = load_with_tokenizer(counted.run.path)
    assert np.mean(nats) == pytest.approx(-model.log_probabilities(np.array(ids), np.zeros(60, bool)).mean(), abs=1e-6)
    with pytest.raises(UsageError, match="is there already"):
        to_arpa(counted.run.path, file)


def test_what_needs_a_gradient_is_refused_with_what_it_is(counted):
    for ask in (rg.load, inspection.diagnose_run, rg.resume):
        with pytest.raises(
            RunError, match="3-gram model, which counts: it has no gradient, and looks exactly 2 tokens"
        ):
            ask(counted.run.path)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"model": {"kind": "ngramm"}}, UnknownName, "No model is called 'ngramm'; the nearest is 'ngram'"),
        ({"model": {"hidden": 64}}, ConfigError, "model.hidden has no effect"),
        ({"training": {"lr": 0.1}}, ConfigError, "training.lr has no effect"),
        ({"training": {"steps": 10}}, ConfigError, "training.steps has no effect"),
        ({"model": {"order": 7}}, ConfigError, "model.order"),
        ({"measure": {"every": 5}}, ConfigError, "measure.every has no effect"),
        ({"task": "recall"}, ConfigError, "reads text"),
    ],
)
def test_what_has_no_effect_is_refused_and_nothing_is_written(counted, tmp_path, changes, error, says):
    values = counted.run.config().model_dump(exclude_none=True)
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    with pytest.raises(error, match=says):
        rg.train(rg.make_config(values), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_order_without_counting_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.order is read by --model ngram alone"):
        rg.train(rg.make_config({"task": "recall", "model": {"order": 3}}), out=tmp_path / "run")


def test_tables_that_were_altered_are_refused(counted, tmp_path):
    again = rg.train(settings_of(counted, order=2), out=tmp_path / "run")
    file = again.run.path / "ngram.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(RunError, match=r"ngram\.safetensors"):
        rg.generate(again.run.path)
    assert not verify(again.run.path).whole


def test_only_what_counts_can_be_written_as_arpa(tmp_path):
    values = {"task": {"name": "recall", "length": 2}, "model": {"hidden": 4}, "training": {"steps": 1}}
    result = rg.train(rg.make_config(values), out=tmp_path / "run")
    with pytest.raises(RunError, match="holds a recurrent model"):
        to_arpa(result.run.path, tmp_path / "x.arpa")
    assert runs.open_run(result.run.path).config().model.name == "lstm 1x4"
