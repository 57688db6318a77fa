"""A comparison on a Ray cluster of two nodes, started here: the same bits as anywhere, and stopped runs go on."""

import shutil
import sys
from pathlib import Path
from types import FunctionType, SimpleNamespace

import pytest

from retrograd import config
from retrograd.errors import MissingExtra, SaveFailed, UsageError
from retrograd.experiments.archive.verification import verify
from retrograd.experiments.comparing import cluster
from retrograd.experiments.comparing.compare import begun, check, comparing
from retrograd.experiments.comparing.pool import Began, Ended, Progressed
from retrograd.experiments.comparing.worker import brought_to_its_end
from retrograd.experiments.training import train
from retrograd.runs import Run
from retrograd.tasks.idx import labels_beside
from retrograd.training import checkpoint
from tests.experiments.comparing.test_comparing import TEXT
from tests.experiments.comparing.test_worker import held, weights


def on_ray(test):
    """It needs the package, which leaves files and sockets open."""
    return pytest.mark.extra(pytest.mark.filterwarnings("ignore")(test))


@pytest.fixture(scope="module")
def nodes():
    """Two nodes of one processor each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    two = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    two.add_node(num_cpus=1)
    ray.init(address=two.address, log_to_driver=False)
    yield ray
    ray.shutdown()
    two.shutdown()


@pytest.fixture
def values(tmp_path, text):
    own = shutil.copy(text, tmp_path / "mat.txt")
    return TEXT | {"data": {"train": [str(own)]}}


def test_a_node_of_another_version_is_refused(tmp_path, values):
    plan, folder = begun(values, ["rnn"], seeds=1, out=tmp_path / "it")
    end, files = cluster._on_node(cluster._job(folder, plan.entries[0]) | {"version": "0.0.0"}, {}, None)
    assert "install 0.0.0 on every node" in end["reason"]
    assert files == {}


def test_data_travels_with_its_names_its_folders_and_the_labels_beside_it(tmp_path):
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    (tmp_path / "pictures" / "cats" / "1.png").write_bytes(b"cat")
    for name in ("a-images-idx3-ubyte", "a-labels-idx1-ubyte", "b.tsv", "c.txt"):
        (tmp_path / name).write_bytes(name.encode())
    here = {"train": [f"{tmp_path}/pictures", f"{tmp_path}/a-images-idx3-ubyte"], "valid": f"{tmp_path}/b.tsv"}
    settings = config.make({"data": here})
    files = cluster._data(settings.data)
    assert set(files) == {
        "train-0/pictures/cats/1.png",
        "train-1/a-images-idx3-ubyte",
        "train-1/a-labels-idx1-ubyte",
        "valid-0/b.tsv",
    }
    placed = cluster._placed(settings, tmp_path / "node").data
    cluster._write(tmp_path / "node", files)
    assert (Path(placed.train[0]) / "cats" / "1.png").read_bytes() == b"cat"
    assert Path(placed.train[1]).read_bytes() == b"a-images-idx3-ubyte"
    assert Path(placed.valid).read_bytes() == b"b.tsv"
    assert placed.test is None


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("images.idx", "labels.idx"),
    ],
)
def test_labels_travel_under_every_name_that_they_are_looked_for(tmp_path, images, labels):
    for name in (images, labels):
        (tmp_path / name).write_bytes(name.encode())
    settings = config.make({"task": "digits", "data": {"train": [str(tmp_path / images)]}})
    cluster._write(tmp_path / "node", cluster._data(settings.data))
    (there,) = cluster._placed(settings, tmp_path / "node").data.train
    assert Path(labels_beside(there)).read_text() == labels


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"retrograd\[ray\]"):
        cluster.joined()


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch):
    def init(**options):
        raise ConnectionError("ray://nobody:1 is not there.\nMore.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    with pytest.raises(UsageError, match=r"could be joined: ray://nobody:1 is not there. Check RAY_ADDRESS"):
        check(on="ray")


def test_a_run_takes_a_processor_for_each_thread_and_there_is_room_for_as_many(monkeypatch):
    there = SimpleNamespace(is_initialized=lambda: True, cluster_resources=lambda: {"CPU": 7.0, "GPU": 2.0})
    monkeypatch.setitem(sys.modules, "ray", there)
    rooms = [({"device": "cpu"}, 7), ({"device": "cpu", "threads": 2}, 3), ({"device": "cuda:0"}, 2)]
    for training, room in rooms:
        assert cluster.room(config.make({"training": training}).training) == room


def test_files_are_read_and_written_as_they_are(tmp_path):
    (tmp_path / "a" / "checkpoints").mkdir(parents=True)
    (tmp_path / "a" / "checkpoints" / "x.bin").write_bytes(b"\x00\xff")
    (tmp_path / "a" / ".lock").touch()
    cluster._write(tmp_path / "b", cluster._read(tmp_path / "a"))
    assert [path.relative_to(tmp_path / "b") for path in (tmp_path / "b").rglob("*.*")] == [Path("checkpoints/x.bin")]
    assert (tmp_path / "b" / "checkpoints" / "x.bin").read_bytes() == b"\x00\xff"


def test_what_is_half_written_stays_whatever_the_folders_above_are_called(tmp_path):
    run = tmp_path / "my.half-done" / ".work.half" / "rnn-1"
    (run / "checkpoints" / ".step-1.7-7.half").mkdir(parents=True)
    for name in ("config.toml", ".report.json.7-7.half", ".lock", "checkpoints/.step-1.7-7.half/model.bin"):
        (run / name).touch()
    (run / "checkpoints" / "latest.json").touch()
    assert set(cluster._read(run)) == {"config.toml", "checkpoints/latest.json"}


class Alone:
    """As much of the package as `spread` asks for: a task is done when it is sent, and what it takes is kept."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self):
        self.taken = []

    def is_initialized(self):
        return True

    def remote(self, **options):
        return lambda what: Actor(what) if isinstance(what, type) else Sent(self, what, options)

    def put(self, x):
        return x

    def get(self, x):
        return x() if isinstance(x, FunctionType) else x

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def kill(self, actor):
        return


class Actor:
    def __init__(self, what):
        self.what = what

    def remote(self):
        it = self.what()
        methods = [name for name in vars(self.what) if not name.startswith("_")]
        return SimpleNamespace(**{name: SimpleNamespace(remote=getattr(it, name)) for name in methods})


class Sent:
    def __init__(self, ray, what, chosen):
        self.ray, self.what, self.chosen = ray, what, chosen

    def options(self, **more):
        return Sent(self.ray, self.what, self.chosen | more)

    def remote(self, *arguments):
        self.ray.taken.append(self.chosen)
        result = self.what(*arguments)
        return lambda: result


def test_each_run_takes_what_it_needs_itself(monkeypatch, values, tmp_path):
    """An n-gram model, whose config says nothing of threads, comes first."""
    alone, no = Alone(), {"status": "failed", "reason": "It was not tried.", "context": None}
    monkeypatch.setitem(sys.modules, "ray", alone)
    monkeypatch.setattr(cluster, "_on_node", lambda job, data, leash: (no, {}))
    plan, folder = begun(
        config.merge(values, {"training": {"threads": 3}}), ["ngram", "rnn"], seeds=1, out=tmp_path / "it"
    )
    events = list(cluster.spread(folder, plan.entries, workers=1, stop=lambda: False))
    assert [(type(e), e.entry.model) for e in events] == [
        (Began, "ngram"),
        (Ended, "ngram"),
        (Began, "rnn"),
        (Ended, "rnn"),
    ]
    assert [each["num_cpus"] for each in alone.taken] == [1, 3]
    assert all("num_gpus" not in each for each in alone.taken)
    on_gpu = [
        e.settings.model_copy(update={"training": e.settings.training.model_copy(update={"device": "cuda"})})
        for e in plan.entries
    ]
    assert cluster._taken(on_gpu[1].training) == {"num_cpus": 3, "num_gpus": 1}


@pytest.fixture
def there(values, tmp_path):
    """A run as it lies here, and as a node sends it back."""
    plan, folder = begun(values, ["rnn"], seeds=1, out=tmp_path / "it")
    (entry,) = plan.entries
    old = {"config.toml": config.dump(entry.settings).encode(), "state": b"old"}
    cluster._write(folder / entry.name, old)
    return folder, entry, old, old | {"state": b"new"}


def test_a_run_that_comes_back_replaces_the_one_that_was_sent(there):
    folder, entry, _, new = there
    cluster._take_back(folder, entry, new)
    assert cluster._read(folder / entry.name) == new
    assert not list(folder.glob(".*.half"))


def test_killed_between_two_names_the_run_is_put_back(there, monkeypatch):
    folder, entry, old, new = there
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", first_of(Path.rename, KeyboardInterrupt))
        patch.setattr(cluster.shutil, "rmtree", lambda *_, **__: None)  # nothing is done by who was killed
        patch.setattr(cluster, "put_back", lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            cluster._take_back(folder, entry, new)
    assert not (folder / entry.name).exists()
    assert cluster._job(folder, entry)["run"] == old


def test_a_disk_that_fails_between_two_names_loses_no_run(there, monkeypatch):
    folder, entry, old, new = there
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", first_of(Path.rename, OSError(5, "Input/output error")))
        with pytest.raises(SaveFailed, match="cannot be written"):
            cluster._take_back(folder, entry, new)
    assert cluster._read(folder / entry.name) == old
    assert not list(folder.glob(".*.half"))


def first_of(rename, error):
    """Of renamings one, and then the error, once."""
    done = []

    def renaming(self, target):
        done.append(target)
        if len(done) == 2:
            raise error
        return rename(self, target)

    return renaming


@on_ray
def test_runs_are_spread_over_the_nodes_and_come_back_whole(nodes, values, tmp_path):
    plan, folder = begun(values, ["rnn", "gru"], seeds=1, out=tmp_path / "it")
    *events, found = comparing(plan, folder, on="ray", workers=2)
    assert [type(event) for event in events if isinstance(event, Began | Ended)] == [Began, Began, Ended, Ended]
    assert found.finished == found.planned == 2
    assert all(s.context and s.end for s in found.standings)
    where = {e["by"] for path in folder.glob("*-1") for e in Run(path).events() if e["event"] == "started"}
    assert len(where) == 2, "a node has one processor, and both ran at once"
    assert Run(folder / "rnn-1").config().data == plan.shared.data, "its texts are named as they lie here"
    assert verify(folder / "rnn-1").whole
    assert "/retrograd-" not in (folder / "rnn-1" / "report.html").read_text()
    assert not list(folder.glob("*.half"))


@on_ray
def test_what_is_stopped_comes_back_saved(nodes, values, tmp_path):
    plan, folder = begun(config.merge(values, {"training": {"steps": 100_000}}), ["rnn"], seeds=1, out=tmp_path / "it")
    begins: list[Progressed] = []
    for event in comparing(plan, folder, on="ray", stop=begins.__len__):
        begins.extend([event] if isinstance(event, Progressed) else [])
    assert (event.finished, event.planned) == (0, 1)
    run = Run(folder / "rnn-1")
    assert [e["event"] for e in run.events()] == ["started", "preempted"]
    assert checkpoint.find(run.checkpoints, "last").step > 0


@on_ray
def test_what_was_begun_here_goes_on_there_to_the_same_bits(nodes, values, tmp_path):
    plan, folder = begun(values, ["rnn"], seeds=1, out=tmp_path / "it")
    (entry,), leash = plan.entries, held()
    end = brought_to_its_end(folder / entry.name, entry.settings, leash, lambda told: leash.let_go())
    assert end.status == "preempted"
    *_, found = comparing(plan, folder, on="ray")
    assert found.finished == 1
    run = Run(folder / entry.name)
    assert [e["event"] for e in run.events()] == ["started", "preempted", "resumed", "finished"]
    assert weights(run.path) == weights(train(entry.settings, out=tmp_path / "alone").run.path)


@on_ray
def test_what_fails_on_a_node_is_said(nodes, values, tmp_path):
    wild = {"lr": 1e30, "clip_norm": 0.0, "returns": 0, "warmup": 0.0}
    plan, folder = begun(config.merge(values, {"training": wild}), ["rnn"], seeds=1, out=tmp_path / "it")
    ended = [event for event in comparing(plan, folder, on="ray") if isinstance(event, Ended)]
    assert [e.status for e in ended] == ["failed"]
    assert "finite" in ended[0].reason
    assert Run(folder / "rnn-1").status() == "failed"
