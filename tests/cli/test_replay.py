"""A step that was not finite, kept by a watched training and run again in another process."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from retrograd import runs
from retrograd.cli.replay import replay
from retrograd.errors import RunError, UsageError
from retrograd.experiments.watching import watch
from retrograd.experiments.watching.nested import decoded, encoded
from tests.cli.command import retrograd

V, H, B, T = 9, 6, 3, 8
CODE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(9, 6), nn.LSTM(6, 6, 2, dropout=0.5), nn.Linear(6, 9)
        self.register_buffer("calls", torch.zeros(()))
        self.state = None

    def forward(self, x, *, options=None):
        self.calls += 1
        y = self.embedding(x) + options["shift"].unsqueeze(-1)
        y, state = self.recurrent(y, self.state)
        self.state = tuple(s.detach() for s in state)
        y = y * (torch.rand(()) + 0.5) + float(options["name"] == "good") / (self.calls < 4)
        if options["name"] == "only in training":
            y = y / torch.tensor(float(not self.training))
        return self.head(y)

def make():
    torch.manual_seed(99)  # other weights than those that are kept
    return Model()

def pair():
    return make(), lambda model: None

def other():
    return nn.LSTM(6, 6)

def small():
    model = make()
    model.head = nn.Linear(6, 8)
    return model

def text():
    return "a model"

def fails():
    raise ValueError("of mine")
"""


@pytest.fixture
def theirs(tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(CODE)
    space = {}
    exec(compile(CODE, str(file), "exec"), space)
    return file, space["Model"]


def trained(model, out, *, plant=None, options=None, at=3, **watched):
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, out=out, every=100, **watched) as w:
        for i in range(at):
            x = torch.randint(V, (T, B))
            given = {"shift": torch.zeros(T, B), "name": "bad"} if options is None else options
            if plant and i == at - 1:
                plant(model, given)
            loss = F.cross_entropy(model(x, options=given).flatten(0, 1), x.flatten())
            loss.backward()
            w.step(loss)
            optimizer.step()
            optimizer.zero_grad()
    return w


def in_a_gate(model, _):
    with torch.no_grad():
        model.recurrent.weight_hh_l0[2 * H + 4] = math.nan


def in_an_argument(_, given):
    given["shift"][5, 2] = math.inf


def in_the_head(model, _):
    with torch.no_grad():
        model.head.weight[3] = -math.inf


def in_the_state(model, _):
    model.state = (model.state[0], model.state[1].clone().index_fill_(1, torch.tensor(1), math.nan))


PLANTED = {
    in_a_gate: "NaN in gate g of recurrent.l0 at time 1 of sequence 0, unit 4",
    in_an_argument: "an infinity in the argument of Model (options.shift) at time 6 of sequence 2",
    in_the_head: "in the output of head at time 1 of sequence 0",
    in_the_state: "NaN in the first state of recurrent.l0 before the first step of sequence 1",
}


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("make", ["make", "pair"])
def test_it_breaks_at_the_same_place_again(theirs, tmp_path, capsys, plant, make):
    file, Model = theirs
    w = trained(Model(), tmp_path / "mine", plant=plant)
    assert PLANTED[plant] in str(w.broken)
    replay(tmp_path / "mine", f"{file}:{make}")
    said = capsys.readouterr().out
    assert f"The loss was not finite at step 3: first {w.broken.place}" in said
    assert "Run again, it broke at the same place." in said


def test_it_is_a_command(theirs, tmp_path):
    file, Model = theirs
    w = trained(Model(), tmp_path / "mine", plant=in_a_gate)
    shown = retrograd("replay", tmp_path / "mine", f"{file}:make", "--json")
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout)
    assert told["same"] is True
    assert (
        told["then"]["place"]
        == told["now"]["place"]
        == runs.from_json(runs.to_json(vars(w.broken.place))) | {"value": "NaN"}
    )
    assert told["then"]["weights"] == ["recurrent.weight_hh_l0"]
    assert retrograd("replay", tmp_path / "mine", f"{file}:text").returncode == 2


def test_the_buffers_and_random_numbers_are_those_of_before_the_step(theirs, tmp_path, capsys):
    """1 / 0 in the fourth call, which the buffer counts, and only there."""
    file, Model = theirs
    w = trained(Model(), tmp_path / "mine", options={"shift": torch.zeros(T, B), "name": "good"}, at=5)
    assert (w.broken.step, w.broken.place.layer) == (4, "head")
    replay(tmp_path / "mine", f"{file}:make")
    assert "same place" in capsys.readouterr().out


def test_the_mode_is_that_of_the_training(theirs, tmp_path, capsys):
    file, Model = theirs
    trained(Model(), tmp_path / "mine", plant=lambda _, given: given.update(name="only in training"))
    replay(tmp_path / "mine", f"{file}:make")
    assert "same place" in capsys.readouterr().out


def test_nothing_is_kept_of_a_training_without_one(theirs, tmp_path):
    file, Model = theirs
    trained(Model(), tmp_path / "mine")
    assert not list((tmp_path / "mine").glob("nonfinite*"))
    with pytest.raises(RunError, match="keeps no step that was not finite"):
        replay(tmp_path / "mine", f"{file}:make")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("other", "another model: only one of them has"),
        ("small", r"another model: head.bias is \(9,\), here \(8,\)"),
        ("text", r"must return the model, or \(model, loss\); got str"),
        ("mike", "the nearest is 'make'"),
    ],
)
def test_what_does_not_fit_is_said(theirs, tmp_path, make, said):
    file, Model = theirs
    trained(Model(), tmp_path / "mine", plant=in_a_gate)
    with pytest.raises((RunError, UsageError), match=said):
        replay(tmp_path / "mine", f"{file}:{make}")


@pytest.mark.parametrize("name", ["nonfinite.json", "nonfinite.safetensors"])
def test_a_file_that_was_altered_is_refused(theirs, tmp_path, name):
    file, Model = theirs
    trained(Model(), tmp_path / "mine", plant=in_a_gate)
    path = tmp_path / "mine" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="checksum differs"):
        replay(tmp_path / "mine", f"{file}:make")


class Odd:
    def unsqueeze(self, _):
        return 0.0


def test_an_argument_that_cannot_be_written_is_named_and_the_place_is_told_all_the_same(theirs, tmp_path):
    _, Model = theirs
    w = trained(Model(), tmp_path / "mine", plant=in_a_gate, options={"shift": Odd(), "name": "bad"})
    assert w.broken.place.gate == "g"
    [event] = [e for e in runs.open_run(tmp_path / "mine").events() if e["event"] == "not kept"]
    assert "options.shift is a Odd, which cannot be kept" in event["reason"]
    assert not list((tmp_path / "mine").glob("nonfinite*"))


def test_arguments_are_written_as_plain_values_and_tensors_and_come_back_the_same():
    packed = pack_padded_sequence(torch.rand(4, 2, 3), torch.tensor([4, 2]))
    value = (1, "NaN", math.inf, None, True, [torch.arange(3), {"a": packed, 2: torch.float16}], torch.Size([2]))
    code, tensors = encoded(value, "it")
    back = decoded(runs.from_json(runs.to_json(code)), tensors)
    assert back[:5] == value[:5]
    assert torch.equal(back[5][0], value[5][0])
    assert all(a is None or torch.equal(a, b) for a, b in zip(back[5][1]["a"], packed, strict=True))
    assert back[5][1][2] is torch.float16
    assert back[6] == (2,)


def test_it_is_kept_without_a_pickle(theirs, tmp_path):
    _, Model = theirs
    trained(Model(), tmp_path / "mine", plant=in_a_gate)
    tensors = load_file(tmp_path / "mine" / "nonfinite.safetensors")
    assert tensors["weights.recurrent.weight_hh_l0"][2 * H + 4].isnan().all()
    assert {name.split(".")[0] for name in tensors} == {"weights", "calls"}
