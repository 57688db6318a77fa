"""Run a model once and keep every state of its recurrent layers within reach of the gradient.

    trace = record(model, lambda m: F.cross_entropy(m(x).flatten(0, 1), y.flatten(), reduction="none").view_as(y))

A fused nn.LSTM shows neither its inner states nor their gradients: hooks on its output see the direct gradient only,
exactly zero before the last step when the loss is there. So for the time of one forward pass each recurrent module is
replayed layer by layer with its own weights, in float64, where a vanished float32 gradient is still a number.
"""

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retrograd.bptt.denormals import flush_denormals
from retrograd.bptt.stack import Stack
from retrograd.cells import Cell, constants, weights_in_use
from retrograd.errors import NotMeasured
from retrograd.trace.discovery import discover, may_hold_a_cell
from retrograd.trace.inputs import record_inputs
from retrograd.trace.loops import Loop, Spec
from retrograd.trace.modules import cell_forward, stack_forward, torch_forward
from retrograd.trace.passage import Layers, Passage
from retrograd.trace.recording import Recording
from retrograd.trace.replay import TWICE
from retrograd.trace.snapshot import untouched
from retrograd.trace.trace import Trace, traced

ALONE = threading.RLock()  # a recording exchanges the forwards of classes, and winds back random numbers
FUSED = (nn.RNN, nn.GRU, nn.LSTM)
STEPWISE = (nn.RNNCell, nn.GRUCell, nn.LSTMCell)
Forward = Callable[..., Any]


def record(model: nn.Module, loss: Callable[[nn.Module], Tensor], *, dtype: torch.dtype = torch.float64) -> Trace:
    """Call `loss(model)` and return its trace; the model and the random numbers are left as they were found.

    `loss` runs the model's own forward and returns the losses of all steps, (T, B) or (T,), or a single number.
    The model is measured in the mode it is in, with dropout if it is training. Where it holds modules
    that somebody wrote, a call before finds the cells among them; see `register`. A call whose first state comes from
    what the module's last call returned continues it, as in decoding token by token; any other call of the module
    begins a trajectory of its own.

    >>> model = nn.LSTM(8, 16)
    >>> record(model, lambda m: m(torch.randn(20, 4, 8))[0].square().sum(-1)).layers[0].states.shape
    torch.Size([21, 4, 32])

    Raises NotMeasured where no recurrent layer runs, or the loss does not depend on one.
    """
    return record_with(model, loss, cells_of(model, loss), dtype=dtype)


def cells_of(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> dict[nn.Module, Spec]:
    """The cells that somebody wrote, from one call of the loss; none, and no call, where there can be none."""
    if not may_hold_a_cell(model):
        return {}
    with _measuring(model):
        return discover(model, loss)[0]


def record_with(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    cells: dict[nn.Module, Spec],
    *,
    dtype: torch.dtype = torch.float64,
) -> Trace:
    """`record` in one call, where the cells that somebody wrote are known."""
    recording = Recording()
    losses = _recorded(model, loss, cells, recording, dtype)
    if not recording.trajectories:
        recording, losses = _by_inputs(model, loss, losses)
    return Trace(traced(recording, losses), losses, tuple(recording.notes))


def losses_forgetting(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], cells: dict[nn.Module, Spec], after: int
) -> Tensor:
    """The losses as `record` has them, where every layer's state is zero again after so many steps.

    Raises NotMeasured where no state is seen, or the loss does not depend on one.
    """
    recording = Recording(forget=after)
    losses = _recorded(model, loss, cells, recording, torch.float64)
    if not recording.trajectories:
        raise NotMeasured(_unseen(model))
    return losses.detach()


def _recorded(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    cells: dict[nn.Module, Spec],
    recording: Recording,
    dtype: torch.dtype,
) -> Tensor:
    """The losses of one call, whose runs go into `recording`."""
    with _measuring(model) as compiled:
        if compiled:
            recording.note("torch.compile was set aside for the measurement: the model ran as it is written.")
        with _replayed(model, cells, recording, dtype):
            losses = _called(model, loss)
        _check(losses)
    if recording.trajectories and not recording.lineage.of(losses):
        raise NotMeasured(_apart(recording))
    return losses


@contextmanager
def _measuring(model: nn.Module) -> Iterator[bool]:
    """Inside, one thread at a time may run the model, and leaves it as it was. Yields whether any was compiled."""
    with ALONE, untouched(model), torch.enable_grad(), flush_denormals(False), eagerly(model) as compiled:
        yield compiled


def _called(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> Tensor:
    try:
        return loss(model)
    except RuntimeError as error:
        if "not have been used in the graph" in str(error):  # what goes in is a constant where no layer is below
            raise NotMeasured(TWICE) from error
        raise


def _by_inputs(model: nn.Module, loss: Callable[[nn.Module], Tensor], losses: Tensor) -> tuple[Recording, Tensor]:
    """Where there is no state to be seen, the inputs of what mixes the steps. Raises NotMeasured where nothing does."""
    if losses.dim():
        steps, batch = len(losses), losses.shape[1] if losses.dim() > 1 else 1
        for count in (steps, steps + 1):  # of a model that predicts the next step, the last is often left out
            with _measuring(model):
                recording, again = record_inputs(model, loss, count, batch)
            if recording.trajectories:
                return recording, again
    raise NotMeasured(_unseen(model))


@contextmanager
def _replayed(
    model: nn.Module, cells: dict[nn.Module, Spec], recording: Recording, dtype: torch.dtype
) -> Iterator[None]:
    """Every recurrent module of the model replayed, also where a class of its own calls torch's forward."""
    replayed: dict[nn.Module, Forward] = {}
    called: dict[str, None] = {}
    for name, module in model.named_modules():
        label = name.removeprefix("_orig_mod.") or type(module).__name__.lower()
        if module in cells:
            replayed[module] = Loop(label, module, cells[module], recording, dtype).forward
        elif isinstance(module, (*FUSED, *STEPWISE, Stack)):
            replayed[module] = _stand_in(label, module, recording, dtype)
            module.register_forward_pre_hook(_noting(label, called, recording))
    with ExitStack() as stack:
        for kind in {*FUSED, *STEPWISE, Stack, *map(type, cells)}:
            stack.enter_context(_dispatching(kind, replayed, recording))
        for cell in cells:
            stack.enter_context(_own_forward(cell, replayed))
        yield
    for name in called.keys() - {trajectory.name for trajectory in recording.trajectories}:
        recording.note(f"{name} has a forward of its own that does not call torch's, so its steps were not seen.")


def _noting(name: str, called: dict[str, None], recording: Recording) -> Callable[..., None]:
    def note(*_: Any) -> None:  # a function, which a model that copies itself need not copy
        if recording.replays():
            called[name] = None

    return note


@contextmanager
def _dispatching(kind: type[nn.Module], replayed: dict[nn.Module, Forward], recording: Recording) -> Iterator[None]:
    """The forward of the class, but for the modules that are replayed."""
    original, inherited = kind.forward, "forward" not in vars(kind)
    ours = kind in (*FUSED, *STEPWISE, Stack)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        stand_in = replayed.get(self)
        if stand_in is not None and recording.elsewhere and not ours:
            with recording.busy:  # the other thread must not meet a cell in another precision
                return original(self, *args, **kwargs)
        if stand_in is None or not recording.replays():
            return original(self, *args, **kwargs)
        return stand_in(*args, **kwargs)

    kind.forward = forward
    try:
        yield
    finally:
        if inherited:
            del kind.forward
        else:
            kind.forward = original


@contextmanager
def _own_forward(cell: nn.Module, replayed: dict[nn.Module, Forward]) -> Iterator[None]:
    """The same where somebody has set a forward on the cell itself."""
    found = vars(cell).get("forward")
    if found is not None:
        vars(cell)["forward"] = replayed[cell]
    try:
        yield
    finally:
        if found is not None:
            vars(cell)["forward"] = found


def _stand_in(name: str, module: nn.Module, recording: Recording, dtype: torch.dtype) -> Forward:
    if isinstance(module, Stack):
        cells: Layers = [[_constant(cell, dtype)] for cell in module.layers]
        return stack_forward(module, Passage(name, lambda: cells, recording, dtype, reverse=module.reverse))
    assert isinstance(module, nn.RNNBase | nn.RNNCellBase)
    passage = Passage(name, _Weights(name, module, recording, dtype), recording, dtype)
    return torch_forward(module, passage) if isinstance(module, nn.RNNBase) else cell_forward(module, passage)


class _Weights:
    """A torch module's cells, copied anew when its weights have changed since the last call."""

    def __init__(
        self, name: str, module: nn.RNNBase | nn.RNNCellBase, recording: Recording, dtype: torch.dtype
    ) -> None:
        self.name, self.module, self.recording, self.dtype = name, module, recording, dtype
        self.seen: list[tuple[Tensor, int]] = []
        self.cells: Layers = []

    def __call__(self) -> Layers:
        named = weights_in_use(self.module)
        now = [(x, x._version) for x in named.values()]
        if len(now) != len(self.seen) or any(map(_differ, now, self.seen)):
            self._check(named)
            self.seen, self.cells = now, constants(self.module, named, self.dtype)
        return self.cells

    def _check(self, named: dict[str, Tensor]) -> None:
        for name, x in named.items():
            if self.recording.lineage.of(x):
                raise NotMeasured(
                    f"{name} of {self.name} is computed from the state of a recurrent layer, and a gradient that goes "
                    "back through a weight cannot be followed."
                )


def _differ(one: tuple[Tensor, int], other: tuple[Tensor, int]) -> bool:
    if one[0] is other[0]:
        return one[1] != other[1]
    return one[0].shape != other[0].shape or not torch.equal(one[0], other[0])


def _constant(cell: Cell, dtype: torch.dtype) -> Cell:
    return copy.deepcopy(cell).to(dtype).requires_grad_(False)


@contextmanager
def eagerly(model: nn.Module) -> Iterator[bool]:
    """Inside, what torch.compile has made of the model runs as it was written. Yields whether there was any."""
    compiled = [m for m in model.modules() if hasattr(m, "_orig_mod") or m._compiled_call_impl is not None]
    if not compiled:
        yield False
        return
    with torch.compiler.set_stance("force_eager"):
        yield True


def _check(losses: Tensor) -> None:
    if not isinstance(losses, Tensor) or losses.dim() > 2:
        shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise NotMeasured(f"The loss must be (time, batch), (time,) or a single number, got {shape}.")
    if not losses.is_floating_point():
        raise NotMeasured(f"The loss must be of real numbers with a fraction, such as float32; got {losses.dtype}.")
    if not losses.requires_grad:
        raise NotMeasured(
            "The loss carries no gradient. Was it computed under torch.no_grad(), or from detached outputs?"
        )


def _apart(recording: Recording) -> str:
    names = ", ".join(dict.fromkeys(trajectory.name for trajectory in recording.trajectories))
    return (
        f"The loss carries no gradient to {names}: what was put out is not used, or is detached, or the layer runs "
        "under torch.no_grad() or in a reentrant checkpoint."
    )


def _unseen(model: nn.Module) -> str:
    scripted = [name for name, m in model.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        return (
            f"The model is compiled by TorchScript (at {scripted[0] or 'the top'}), whose steps cannot be seen. "
            "Give the module that it was made from."
        )
    return (
        "No nn.RNN, nn.GRU, nn.LSTM or Stack ran while the loss was computed, nor a cell that is given its own state "
        "again; there is no state. Where a cell keeps its state to itself, name it: rg.register(MyCell, state=...). "
        "A layer without states is measured by its inputs where the loss is one for each step, (time, batch)."
    )
