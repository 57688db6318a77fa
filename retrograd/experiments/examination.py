"""Anybody's model, looked at once: recorded, measured, judged.

    diagnose(model, loss, need=200)                        loss(model) -> the losses of each step, or one number
    diagnose(model, loss, need=200, batches=[a, b])        loss(model, batch), over the sequences of all of them
    assert_horizon(model, loss, at_least=100)              the same as one line of one's own tests

The model is called as it stands, in the mode it is in, and left as it was found.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from torch import nn

from retrograd import measures
from retrograd.diagnosis import judge
from retrograd.errors import NotMeasured, UsageError
from retrograd.experiments.calling import Batches, Loss, OneLoss, each, refuse_what_cannot_run, steadily
from retrograd.experiments.measuring import activation_of, described, explained
from retrograd.measures import (
    Horizon,
    NonFinitePlace,
    Reach,
    first_nonfinite,
    horizon,
    pooled,
    reach,
    saturation,
    spectrum,
)
from retrograd.measures.joined import asked_steps, joined_layers, left_out
from retrograd.reports import Measurement, Report
from retrograd.trace import Trace, cells_of, record_with

ROUNDING = 1e-3  # of the loss: what float32 may do to it, against the float64 of the record
ROWS, PICTURED = 12, 4  # losses and sequences of the picture of contributions: it costs a sweep for each of its rows
FEW = 4  # losses that the window, and resets that the context, is measured at
ALONG = 1  # sequences that the step Jacobians are multiplied along: it costs a product of two for each of their steps
SINGULAR = 4  # of these Jacobians those whose singular values are all taken, of a state of more than 64 numbers
RESTARTED = 8  # sequences that are run again from other starts
FOLLOWED = 4  # sequences along which directions are followed

M = TypeVar("M")


def diagnose(
    model: nn.Module,
    loss: Loss,
    *,
    need: int | None = None,
    batches: Batches | None = None,
    anchors: int | None = None,
    layers: Sequence[str] | None = None,
    all: bool = False,
    trained: bool = False,
) -> Report:
    """How far back the gradient of `loss(model)` reaches in the model's recurrent layers, and what is wrong.

    `loss` runs the model on data of your own and returns the losses of all steps, time first, (T, B) or (T,), or a
    single number. It is called twice under one random state, or a few times more where that leaves something open;
    with `batches`, as loss(model, batch) for each. `need` is how many steps back the task must look; where it is not
    given, the verdict on vanishing is a note. `anchors` is how many of the losses are followed back (4, or fewer of
    many sequences), `layers` which recurrent layers are taken together. `all` adds the window, Jacobians, Lyapunov
    exponents, forgetting, depth and, with a loss for each step, contributions and context, of fewer sequences, steps
    and losses than each takes by itself. A model that is `trained` is not told first to start anew.

    >>> diagnose(model, loss, need=200)           # in a terminal its text, in a notebook its page
    >>> diagnose(model, loss).horizon.display
    '23'

    Raises NotMeasured where no recurrent layer runs, where the loss does not depend on one or is another at each call,
    and where the sequence is too short to tell whether the gradient reaches `need` back.
    """
    refuse_what_cannot_run(model)
    if need is not None and (isinstance(need, bool) or not isinstance(need, int) or need < 1):
        raise UsageError(f"The need is a number of steps, at least 1; got {need!r}.")
    look = _Look(model, each(loss, batches), need, anchors, layers)
    h = look.horizon
    if need is not None and h.censored and not h.summed and need > h.longest:
        raise NotMeasured(
            f"The gradient outlives the {h.longest} steps that this sequence can show, so whether it reaches {need} is "
            f"not known. Give a sequence of more than {need} steps."
        )
    asked = need or len(look.trace)
    supposed = None if need else "the length of the sequence"
    taken = look.taken()
    more = look.more() if all else {}
    findings = judge(
        h,
        taken["saturation"],
        need=asked,
        assumed=supposed,
        foreign=True,
        trained=trained,
        activation=activation_of(look.trace),
        attribution=taken["attribution"],
        lyapunov=more.get("lyapunov"),
        window_adequacy=more.get("window"),
        nonfinite=look.nonfinite,
    )
    return Report(
        title=type(model).__name__,
        subject=look.subject() | {"need": asked, "need is": f"assumed: {supposed}" if supposed else "known"},
        measurements={"now": Measurement(step=0, horizon=h, **taken, **more)},
        findings=findings,
        status="measured",
        foreign=True,
        notes=look.notes(),
    )


def everything(model: nn.Module, loss: OneLoss) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Every measure beside the horizon, by its name in a Measurement, and what a reader should know of how."""
    look = _Look(model, [loss], None, None, None)
    return look.taken() | look.more(), look.notes()


def assert_horizon(model: nn.Module, loss: Loss, *, at_least: int, batches: Batches | None = None) -> Report:
    """Raises AssertionError, with the verdict, where the gradient does not reach `at_least` steps back, or explodes.

    Raises NotMeasured where the sequence is too short to tell; see `diagnose`.
    """
    found = diagnose(model, loss, need=at_least, batches=batches)
    h = found.horizon
    if h.summed:
        raise NotMeasured(
            "The loss is one number for many steps, which cannot tell how far back any of them reaches. Return the "
            "loss of each step, (time, batch)."
        )
    short = h.steps < at_least and not (h.censored and not h.lost)
    grows = any(finding.code in ("exploding", "non-finite") for finding in found.findings)
    if short or grows:
        between = f" ({h.low} to {h.high})" if h.low is not None else ""
        said = " ".join(finding.message for finding in found.findings)
        wanted = f"expected at least {at_least}" if short else "and a gradient that does not grow was expected"
        raise AssertionError(f"The gradient's horizon is {h}{between} steps, {wanted}. {said}".strip())
    return found


class _Look:
    """One model under one or several losses: the reach is over all of them, the rest is measured on the first."""

    def __init__(
        self,
        model: nn.Module,
        losses: list[OneLoss],
        need: int | None,
        anchors: int | None,
        layers: Sequence[str] | None,
    ) -> None:
        self.model, self.loss, self.batches, self.layers = model, losses[0], len(losses), layers
        reaches = []
        for number, loss in enumerate(losses):
            if not number:
                self.cells = cells_of(model, loss)
            own, trace = steadily(model, loss, partial(record_with, model, loss, self.cells))
            if not number:
                self.trace, self.own = trace, own
            reaches.append(_reach(trace, need, anchors, layers))
        self.reach = pooled(reaches)
        self.horizon: Horizon = horizon(self.reach)
        self.missing: list[str] = []

    @cached_property
    def nonfinite(self) -> NonFinitePlace | None:
        """Where the first number stands that is not finite, if the gradient is not."""
        return None if self.horizon.finite else first_nonfinite(self.trace)

    def taken(self) -> dict[str, Any]:
        """What is measured by default."""
        trace = self.trace
        known = any(layer.cell for layer in trace.layers)
        return {
            "saturation": saturation(trace) if known else None,
            "spectrum": spectrum(trace) if known else None,
            "attribution": self._tried(lambda: explained(trace, self.horizon)),
            "parts": self._tried(lambda: measures.parts(trace)),
        }

    def more(self) -> dict[str, Any]:
        """What is measured where all is asked for."""
        trace = self.trace
        found: dict[str, Any] = {
            "window": self._tried(lambda: measures.window(trace, anchors=FEW)),
            "jacobians": self._tried(lambda: measures.jacobians(trace, sequences=ALONG, steps=SINGULAR, whole=False)),
            "lyapunov": self._tried(lambda: measures.lyapunov(trace, sequences=FOLLOWED)),
            "forgetting": self._tried(lambda: measures.forgetting(trace, sequences=RESTARTED)),
            "depth": self._tried(lambda: measures.depth(trace)),
        }
        if trace.per_step:
            found["contributions"] = self._tried(lambda: measures.contributions(trace, rows=ROWS, sequences=PICTURED))
            found["context"] = self._tried(lambda: measures.context(self.model, self.loss, trace=trace, resets=FEW))
        return found

    def _tried(self, measure: Callable[[], M]) -> M | None:
        """What cannot be had is said, and the rest goes on."""
        try:
            return measure()
        except NotMeasured as error:
            self.missing.append(str(error))
            return None

    def notes(self) -> tuple[str, ...]:
        """What a reader should know of how it was measured."""
        said = list(self.trace.notes)
        beside = left_out(self.trace, joined_layers(self.trace, self.layers))
        if beside:
            said.append(f"Left out, because their batch or their steps are others: {', '.join(beside)}.")
        if self.reach.later:
            said.append(
                "A loss has a gradient at later steps too, as through BatchNorm in training mode or a layer that reads "
                "backwards. That way is no time, and counts here; model.eval() or layers=[...] may leave it out."
            )
        own, losses = self.own, self.trace.losses.detach().double()
        off = float((losses - own).abs().max() / own.abs().max().clamp(min=1e-12))
        if off > ROUNDING:
            said.append(
                f"The replayed loss differs by {off:.1%} from the model's own, in float64 against its precision."
            )
        return (*said, *dict.fromkeys(self.missing))

    def subject(self) -> dict[str, str | int | float | None]:
        return {
            **described(self.model, self.trace, sequences=self.reach.log_norms.shape[-1]),
            **({"batches": self.batches} if self.batches > 1 else {}),
            **({"first not finite": str(self.nonfinite)} if self.nonfinite else {}),
        }


def _reach(trace: Trace, need: int | None, anchors: int | None, layers: Sequence[str] | None) -> Reach:
    joined = joined_layers(trace, layers)
    if joined.length < 2:
        raise NotMeasured("The model ran for one step only, so no gradient goes back in time; give a longer sequence.")
    try:
        asked = asked_steps(trace, joined.length)[-1] - joined.first
        longest = min(need, asked) if need and trace.per_step else None
        return reach(trace, anchors=anchors, longest=longest, layers=layers)
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        raise NotMeasured(
            "The loss has called backward itself, which frees its graph; return the loss and leave that to Retrograd."
        ) from None
