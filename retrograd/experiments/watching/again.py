"""A step's forward pass recorded again, under a loss that has the true one's gradient and needs no loss function.

    L = sum over outputs of <d, y>          d = dLoss/dy, caught in the backward pass: dL/dy = d
    L_t = <d[t], y[t]>                      one loss a step, wherever an output has a time axis

Where one output is computed from another, what was caught at the lower one holds what comes through the upper one too;
d is what is its own. Axes: T time, B batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from retrograd.errors import NotMeasured, ShapeError
from retrograd.experiments.watching.calls import Call, Link
from retrograd.experiments.watching.nested import leaves
from retrograd.trace import Trace, record
from retrograd.trace.snapshot import untouched

NOISE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}  # share of a gradient that rounding leaves where nothing is
NOISE_ELSE = 1e-4


@dataclass(frozen=True, eq=False)
class Term:
    """<gradient, output> of one output of one call."""

    call: int  # which of the calls, from 0
    path: str  # where in what it returned
    output: Tensor  # live
    gradient: Tensor

    @property
    def product(self) -> Tensor:
        """Element by element, in float64."""
        return self.gradient.double() * self.output.double()


@dataclass(frozen=True, eq=False)
class Reading:
    """Where each of an output's rows (its first `axes` axes, flattened) lies: its step, and its sequence if known."""

    axes: int  # 0: each of them at the one step of its call
    step: Tensor  # (rows,), from 0
    sequence: Tensor | None


def traced(model: nn.Module, calls: Sequence[Call], *, dtype: torch.dtype = torch.float64) -> Trace:
    """The calls recorded: losses (T, B) where the output has a time axis, else a single number."""
    apart = _apart(model, calls) if sum(len(call.gradients) for call in calls) > 1 else None
    terms: list[Term] = []
    rest: list[Tensor] = []

    def loss(_: nn.Module) -> Tensor:
        every = _terms(calls)
        if apart is None:
            terms[:] = [term for term in every if term.output.numel() > 1]
        else:
            terms[:] = [replace(t, gradient=apart[t.call, t.path]) for t in every if (t.call, t.path) in apart]
        rest[:] = _single(terms, every)
        return _total(terms, rest)

    try:
        trace = record(model, loss, dtype=dtype)
    except NotMeasured:
        if len(terms) != 1 or rest or terms[0].output.dim() < 2:
            raise
        return _without_states(model, loss, terms, dtype)
    with torch.enable_grad():
        return _by_step(trace, terms, rest, len(calls))


def _without_states(
    model: nn.Module, loss: Callable[[nn.Module], Tensor], terms: Sequence[Term], dtype: torch.dtype
) -> Trace:
    """Layers that show no state are measured at their inputs, which asks for the loss of each step beforehand."""

    def by_rows(m: nn.Module) -> Tensor:
        loss(m)
        return terms[0].product.reshape(*terms[0].output.shape[:2], -1).sum(2)

    for turned in (False, True):
        with suppress(NotMeasured, ShapeError):
            trace = record(model, (lambda m: by_rows(m).T) if turned else by_rows, dtype=dtype)
            if _goes_one_way(trace):
                return trace
    raise NotMeasured(
        "No recurrent layer shows a state, and in which axis of the output time would be cannot be told: there is none "
        "along which nothing depends on what comes later."
    )


def _goes_one_way(trace: Trace) -> bool:
    """Does each step depend on earlier steps, and none on later ones? Features that mix do not pass for time."""
    middle, largest = (len(trace.losses) + 1) // 2, 0.0
    for gradient in trace.gradients_at([trace.first_loss + 1, trace.first_loss + middle]):
        for g, t in zip(gradient.abs(), (1, middle), strict=True):
            here = trace.first_loss + t
            later = float(g[here + 1 :].amax()) if here + 1 < len(g) else 0.0
            if later > NOISE_ELSE * float(g.amax()):  # a convolution by Fourier transforms leaves rounding there
                return False
            largest = max(largest, float(g[:here].amax()) if t == middle else 0.0)
    return largest > 0


def again(calls: Sequence[Call]) -> Iterator[dict[str, Tensor]]:
    """The calls in order, each one's output tensors by path; later ones are given what earlier ones return now."""
    returned: dict[Link, Tensor] = {}
    for call in calls:
        outputs = dict(leaves(call.run(returned)))
        returned |= {(call.number, path): x for path, x in outputs.items()}
        yield outputs


def _terms(calls: Sequence[Call]) -> list[Term]:
    """Every output that the loss asked something of, computed again."""
    found = list(again(calls))
    return [term for i, call in enumerate(calls) for term in _terms_of(i, call, found[i])]


def _terms_of(i: int, call: Call, outputs: Mapping[str, Tensor]) -> Iterator[Term]:
    for path, gradient in call.gradients.items():
        y = outputs.get(path)
        if y is None or y.shape != gradient.shape:
            raise NotMeasured("The model returned another output the second time, so its forward cannot be repeated.")
        if y.requires_grad:
            yield Term(i, path, y, gradient.to(y.device))


def _own(terms: Sequence[Term]) -> list[Term]:
    """The terms with what is each one's own, the nearest to the loss first; single numbers are left out."""
    own: list[Term] = []
    for term in sorted((t for t in terms if t.output.numel() > 1), key=_late, reverse=True):
        through = _gradient(_total(own, []), term.output) if own else None
        left = term.gradient if through is None else _less(term.gradient, through)
        if left is not None:
            own.append(replace(term, gradient=left))
    return own


def _apart(model: nn.Module, calls: Sequence[Call]) -> dict[tuple[int, str], Tensor]:
    """What is each output's own, by call and path: not what comes through other outputs, nor through later calls.

    Each call is taken back alone, to what it was given, in the model as it is: a recorded layer goes on in its own
    precision from call to call, past the tensors that are handed on.
    """
    own: dict[tuple[int, str], Tensor] = {}
    places = {call.number: i for i, call in enumerate(calls)}
    returned: dict[Link, Tensor] = {}
    with untouched(model), torch.enable_grad():
        for i, call in enumerate(calls):
            outputs = dict(leaves(call.run(returned)))
            terms = _own(list(_terms_of(i, call, outputs)))
            own |= {(i, term.path): term.gradient for term in terms}
            for number, path in set(call.links.values()) if terms else ():
                place, x = (places[number], path), returned.get((number, path))
                if place in own and x is not None and (through := _gradient(_total(terms, []), x)) is not None:
                    left = _less(own.pop(place), through)
                    own |= {} if left is None else {place: left}
            for path, x in outputs.items():
                returned[call.number, path] = x.detach().requires_grad_(x.is_floating_point())
    return own


def _less(gradient: Tensor, through: Tensor) -> Tensor | None:
    """The gradient less what comes through another output; None where rounding is all that is left."""
    left = gradient - through
    small = float(left.norm()) <= NOISE.get(gradient.dtype, NOISE_ELSE) * float(gradient.norm())
    return None if small else left


def _single(own: Sequence[Term], terms: Sequence[Term]) -> list[Tensor]:
    """What outputs of a single number, as a loss that the model itself computes, add to the other outputs.

    What they ask of those is in the gradients there already, and is taken off.
    """
    added: list[Tensor] = []
    for term in terms:
        if term.output.numel() == 1:
            before = _gradient(_total(own, added), term.output) if own or added else None
            more = replace(term, gradient=term.gradient - before if before is not None else term.gradient).product.sum()
            for other in own:
                if (asked := _gradient(more, other.output)) is not None:
                    more = more - replace(other, gradient=asked).product.sum()
            added.append(more)
    return added


def _total(terms: Sequence[Term], rest: Sequence[Tensor]) -> Tensor:
    return torch.stack([term.product.sum() for term in terms] + list(rest)).sum()


def _gradient(loss: Tensor, x: Tensor) -> Tensor | None:
    found: Tensor | None = torch.autograd.grad(loss, x, retain_graph=True, allow_unused=True)[0]
    return found


def _late(term: Term) -> int:
    """Nodes of the graph are numbered in the order in which they are made."""
    number: int = term.output.grad_fn._sequence_nr() if term.output.grad_fn else 0
    return number


def _by_step(trace: Trace, terms: Sequence[Term], rest: Sequence[Tensor], calls: int) -> Trace:
    """The same trace with one loss a step, where that can be told."""
    for steps, batch in dict.fromkeys((len(layer), layer.states.shape[1]) for layer in trace.layers[::-1]):
        if steps % calls:
            continue
        read = [(term, _told(trace, term, steps, batch, calls)) for term in terms]
        if not any(reading for _, reading in read):
            continue
        losses = torch.zeros(steps, batch, dtype=torch.float64, device=trace.losses.device)
        for term, reading in read:
            losses = losses + (_losses(term, reading, steps, batch) if reading else 0)
        single = [*rest, *(term.product.sum() for term, reading in read if not reading)]
        if single:
            last = torch.zeros_like(losses)
            last[-1, 0] = 1
            losses = losses + last * torch.stack(single).sum()
        only_the_last = not losses[:-1].detach().ne(0).any()
        return trace if only_the_last else replace(trace, losses=losses)
    return trace


def _losses(term: Term, reading: Reading, steps: int, batch: int) -> Tensor:
    """<g, y> of each step and sequence, (T, B). A step with a gradient is never exactly 0, which means 'not asked'."""
    rows = term.product.reshape(len(reading.step), -1)
    asked = term.gradient.reshape(rows.shape).ne(0).any(1) & rows.detach().sum(1).eq(0)
    sequence = torch.zeros_like(reading.step) if reading.sequence is None else reading.sequence
    at = reading.step * batch + sequence
    empty = torch.zeros(steps * batch, dtype=rows.dtype, device=rows.device)
    return empty.index_add(0, at.to(rows.device), rows.sum(1) + asked).view(steps, batch)


def _told(trace: Trace, term: Term, steps: int, batch: int, calls: int) -> Reading | None:
    """How the output lies in time, if there is one way, or only one that no later state has a share in."""
    if steps == calls > 1:
        return Reading(0, torch.full_like(term.gradient, term.call, dtype=torch.long).flatten(), None)
    found = list(_readings(trace, term.output.shape, steps // calls, batch))
    shifted = [replace(r, step=r.step + term.call * (steps // calls)) for r in found]
    if len(shifted) == 1 and shifted[0].axes == 2 and term.output.dim() > 2:
        return shifted[0]
    causal = [r for r in shifted if _causal(trace, _losses(term, r, steps, batch))]
    return causal[0] if len(causal) == 1 else None


def _readings(trace: Trace, shape: torch.Size, steps: int, batch: int) -> Iterator[Reading]:
    """Every way to see time in an output of this shape, each once."""
    device = trace.losses.device
    t = torch.arange(steps, device=device)[:, None].expand(steps, batch)
    b = torch.arange(batch, device=device).expand(steps, batch)
    time_first, batch_first = (t.flatten(), b.flatten()), (t.T.flatten(), b.T.flatten())
    if len(shape) > 1 and shape[:2] == (steps, batch):
        yield Reading(2, *time_first)
    if len(shape) > 1 and shape[:2] == (batch, steps) and (batch, steps) != (1, 1):
        yield Reading(2, *batch_first)
    if len(shape) and shape[0] == steps * batch and shape[:2] not in ((steps, batch), (batch, steps)):
        yield Reading(1, *time_first)
        if min(steps, batch) > 1:
            yield Reading(1, *batch_first)
    for live in (layer.live for layer in trace.layers):
        if live is not None and live.shape == (steps, batch) and len(shape) and shape[0] == live.sum() < live.numel():
            yield Reading(1, live.nonzero()[:, 0].to(device), None)
            yield Reading(1, live.T.nonzero()[:, 1].to(device), None)
            return


def _causal(trace: Trace, losses: Tensor) -> bool:
    """Is no state that comes after the first loss behind it? A wrong axis taken for time shows there."""
    asked = losses.detach().ne(0).any(1).nonzero().flatten().tolist()
    if not asked or asked[0] + 1 == len(losses):
        return True
    alike = [i for i, layer in enumerate(trace.layers) if not layer.reverse and len(layer) == len(losses)]
    gradients = replace(trace, losses=losses[asked[0]].sum()).gradients_at([len(trace)])
    return not any(bool(gradients[i][0, asked[0] + 2 :].ne(0).any()) for i in alike)
