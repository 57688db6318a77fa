"""Anybody's model, looked at once: recorded, measured, judged.

    diagnose(model, loss, need=200)               loss(model) -> the losses of each step (time, batch), or one number
    assert_horizon(model, loss, at_least=100)     the same as one line of one's own tests

The model is called as it stands, in the mode it is in, and left as it was found.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrograd.diagnosis import judge
from retrograd.errors import NotMeasured, UsageError
from retrograd.measures import contributions, horizon, reach, saturation, spectrum
from retrograd.measures.joined import asked_steps
from retrograd.reports import Measurement, Report
from retrograd.trace import LayerTrace, Trace, record
from retrograd.trace.snapshot import untouched

ROUNDING = 1e-3  # of the loss: what float32 may do to it, against the float64 of the record

Loss = Callable[[nn.Module], Tensor]


def diagnose(model: nn.Module, loss: Loss, *, need: int | None = None, anchors: int = 4) -> Report:
    """How far back the gradient of `loss(model)` reaches in the model's recurrent layers, and what is wrong.

    `loss` runs the model on data of your own and returns the losses of all steps, time first, (T, B) or (T,), or a
    single number. It is called three times under one random state. `need` is how many steps back the task must look;
    where it is not given, the verdict on vanishing is a note. `anchors` is how many of the losses are followed back.

    >>> diagnose(model, loss, need=200)           # in a terminal its text, in a notebook its page
    >>> diagnose(model, loss).horizon.display
    '23'

    Raises NotMeasured where no recurrent layer runs, where the loss does not depend on one or is another at each call,
    and where the sequence is too short to tell whether the gradient reaches `need` back.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"The model must be an nn.Module, got {type(model).__name__}; the loss comes after it.")
    if need is not None and (not isinstance(need, int) or need < 1):
        raise UsageError(f"The need is a number of steps, at least 1; got {need!r}.")
    own = _twice_the_same(model, loss)
    trace = record(model, loss)
    length = max(map(len, trace.layers))
    longest = min(need, asked_steps(trace, len(trace.losses))[-1]) if need and trace.per_step else None
    reached = reach(trace, anchors=anchors, longest=longest)
    measured = Measurement(
        step=0,
        horizon=horizon(reached),
        saturation=saturation(trace),
        contributions=contributions(trace) if trace.per_step else None,
        spectrum=spectrum(trace),
    )
    h = measured.horizon
    if need is not None and h.censored and not h.summed and need > h.longest:
        raise NotMeasured(
            f"The gradient outlives the {h.longest} steps that this sequence can show, so whether it reaches {need} is "
            f"not known. Give a sequence of more than {need} steps."
        )
    asked = need or length
    supposed = None if need else "the length of the sequence"
    findings = judge(h, measured.saturation, need=asked, assumed=supposed, foreign=True)
    return Report(
        title=type(model).__name__,
        subject=_subject(model, trace, own)
        | {"need": asked, "need is": f"assumed: {supposed}" if supposed else "known"},
        measurements={"now": measured},
        findings=findings,
        status="measured",
        foreign=True,
    )


def assert_horizon(model: nn.Module, loss: Loss, *, at_least: int) -> Report:
    """Raises AssertionError, with the verdict, where the gradient does not reach `at_least` steps back.

    Raises NotMeasured where the sequence is too short to tell; see `diagnose`.
    """
    found = diagnose(model, loss, need=at_least)
    h = found.horizon
    if h.summed:
        raise NotMeasured(
            "The loss is one number for many steps, which cannot tell how far back any of them reaches. Return the "
            "loss of each step, (time, batch)."
        )
    if h.steps < at_least and not (h.censored and not h.lost):
        between = f" ({h.low} to {h.high})" if h.low is not None else ""
        said = " ".join(finding.message for finding in found.findings)
        raise AssertionError(
            f"The gradient's horizon is {h}{between} steps, expected at least {at_least}. {said}".strip()
        )
    return found


def _twice_the_same(model: nn.Module, loss: Loss) -> Tensor:
    """The model's own losses. Raises NotMeasured where a second call gives others."""
    first, second = (_called(model, loss) for _ in range(2))
    if first.shape != second.shape or not torch.allclose(first, second, rtol=1e-5, atol=1e-12, equal_nan=True):
        raise NotMeasured(
            f"The loss is another one each time it is called ({_mean(first)}, then {_mean(second)}), also under one "
            "random state. Let it compute on one batch that is chosen beforehand, and from a state that is given."
        )
    return first


def _called(model: nn.Module, loss: Loss) -> Tensor:
    with untouched(model), torch.enable_grad():
        value = loss(model)
    if not isinstance(value, Tensor):
        raise NotMeasured(
            f"The loss must be a tensor, of the losses of all steps or a single number; got {type(value).__name__}."
        )
    return value.detach().double()


def _subject(model: nn.Module, trace: Trace, own: Tensor) -> dict[str, str | int | float | None]:
    layers = [f"{layer.name} {layer.kind.lower()} {_size(layer)}" for layer in trace.layers]
    off = float((trace.losses.detach().double() - own).abs().max() / own.abs().max().clamp(min=1e-12))
    same = off <= ROUNDING or bool(own.isnan().any())
    differs = {} if same else {"replayed loss differs by": f"{off:.1%}, float64 against the model's own"}
    return {
        "layers": ", ".join(layers),
        "parameters": sum(p.numel() for p in model.parameters()),
        "mode": "training" if model.training else "evaluation",
        "steps": max(map(len, trace.layers)),
        "sequences": trace.layers[0].states.shape[1],
        "losses": "one a step" if trace.per_step else "one number",
        **differs,
    }


def _size(layer: LayerTrace) -> int:
    return layer.cell.hidden_size if layer.cell else layer.states.shape[-1]


def _mean(losses: Tensor) -> str:
    return f"{float(losses.mean()):.6g}"
