"""Models and losses that something is wrong with: a sentence that says what, or a report that does.

In every case the model is left as it was found, to the last bit and the last attribute, and so are the random numbers,
the classes of torch and its settings. What a model itself raises is passed on as it is.
"""

import random
import re
from contextlib import suppress

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import retrograd as rg
from retrograd.errors import RetrogradError
from tests.experiments.bad_cases import Net, Own, Sentence, data, each
from tests.experiments.bad_losses import LOSSES
from tests.experiments.bad_models import MODELS
from tests.experiments.photograph import Photograph, with_gradients

CASES = LOSSES | MODELS

pytestmark = [  # of torch itself
    pytest.mark.filterwarnings("ignore:.torch.jit.script"),
    pytest.mark.filterwarnings("ignore:Lazy modules are a new feature"),
]


def a_sentence(text):
    """One line, a stop at its end, no more than three sentences, and nothing of Python's own in it."""
    stops = len(re.findall(r"[.?!](?= [A-Z])", text)) + 1
    return (
        "\n" not in text and text.endswith((".", "?")) and stops <= 3 and "Traceback" not in text and "0x" not in text
    )


def diagnosed(name):
    """What is raised or reported, after it was seen that the model is as before."""
    torch.manual_seed(0)
    model, loss = CASES[name][0]()
    before = Photograph(with_gradients(model))
    try:
        told = rg.diagnose(model, loss)
    except Exception as error:  # whatever it is: the model comes first
        told = error
    before.compare()
    return told


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_and_left_as_it_was_found(name):
    expected, told = CASES[name][1], diagnosed(name)
    if isinstance(expected, Own):
        torch.manual_seed(0)
        model, loss = CASES[name][0]()
        with pytest.raises(type(told), match=re.escape(str(told))):
            loss(model)
    elif isinstance(expected, Sentence):
        assert isinstance(told, RetrogradError), f"{type(told).__name__}: {told}"
        assert re.search(expected.pattern, str(told)), told
        assert a_sentence(str(told)), told
    else:
        assert isinstance(told, rg.Report), f"{type(told).__name__}: {told}"
        assert expected.holds(told), told
        assert told.to_json()


def test_the_photograph_would_show_a_change():
    """The check itself can fail: a weight, a gradient, a buffer, the mode, a hook, an attribute, a random number."""
    changes = {
        "weight": lambda m: m.head.weight.data.add_(1e-7),
        "gradient": lambda m: m.head.weight.grad.add_(1e-7),
        "buffer": lambda m: m.calls.add_(1),
        "mode": lambda m: m.rnn.eval(),
        "hook": lambda m: m.register_forward_hook(lambda *_: None),
        "attribute": lambda m: setattr(m.rnn, "forward", print),
        "random": lambda m: torch.rand(1),
        "python": lambda m: random.random(),
        "frozen": lambda m: m.head.weight.requires_grad_(False),
    }
    for change in changes.values():
        model = with_gradients(Net())
        before = Photograph(model)
        before.compare()
        change(model)
        with pytest.raises(AssertionError):
            before.compare()


class Checkpointed(Net):
    def forward(self, x):
        out, _ = checkpoint(self.rnn, self.body(x), use_reentrant=False)
        return self.head(out).squeeze(-1)


def test_a_layer_under_activation_checkpointing_is_measured_as_without():
    x = data()
    plain, checkpointed = Net(), Checkpointed()
    checkpointed.load_state_dict(plain.state_dict())
    before = Photograph(with_gradients(checkpointed))
    assert rg.diagnose(checkpointed, each(x)).horizon == rg.diagnose(plain, each(x)).horizon
    before.compare()


class Breaks(Net):
    """At a call that is chosen."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, x):
        out = super().forward(x)
        COUNT[0] += 1
        if COUNT[0] == self.at:
            raise OSError("the disk is gone")
        return out


COUNT = [0]  # not on the model, where it would be put back


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_model_that_raises_half_way_raises_what_it_raises(call):
    model, loss = Breaks(at=call), each()
    before = Photograph(with_gradients(model))
    COUNT[0] = 0
    with pytest.raises(OSError, match="the disk is gone") if call < 3 else suppress(OSError):
        rg.diagnose(model, loss)
    before.compare()
