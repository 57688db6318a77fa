"""Somebody's own training, watched from within: how far its gradients reach, how they are clipped, where they break.

    due        every N steps, and never for more than a share of the time
    each step  the loss, and ln |g| of all gradients before clipping
    once       the first step that is not finite

Nothing of the training is touched: its weights are the same to the last bit as without.
"""

import math
import time
from array import array
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from retrograd.bptt.denormals import flush_denormals
from retrograd.diagnosis import Finding, judge
from retrograd.errors import NotMeasured, UsageError
from retrograd.experiments import clipped, logbook
from retrograd.experiments.watching import kept
from retrograd.experiments.watching.breakage import Broken, broken, seen
from retrograd.experiments.watching.calls import Calls, unwrapped
from retrograd.experiments.watching.guard import Guard, sentence
from retrograd.experiments.watching.journal import begun
from retrograd.experiments.watching.looking import looked
from retrograd.measures import Clipping, clipping
from retrograd.reports import Measurement, Report
from retrograd.training.clipping import log_norm

SHARE = 0.02  # of the time, at most
MEASURING = 0.5  # of that share is for measurements, or more where what is done in every step takes less than the rest
LOGGED, APART = 10, 0.1  # a line of numbers each so many steps, and not before so many seconds
DEAR = 4  # times a measurement: what the gradient by lag costs, before it was measured once
SUPPOSED = "the length of the sequence"
FEW = 32  # numbers that are read one by one faster than they are put together
PATIENCE = 3  # measurements that may fail one after the other before no more are tried


class Watch:
    """A training that is watched; made by `watch`. `report` says what is known by now, at any time."""

    def __init__(
        self,
        model: nn.Module,
        *,
        every: int,
        share: float,
        need: int | None,
        out: str | Path | None,
        clip_norm: float | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self.model, self.every, self.share, self.need, self.clip_norm = model, every, share, need, clip_norm
        self.index = 0  # steps so far
        self.broken: Broken | None = None  # the first step that was not finite
        self.measurements: dict[str, Measurement] = {}  # "start", and "latest"
        self._subject: dict[str, str | int | float | None] = {"parameters": sum(p.numel() for p in model.parameters())}
        self._activation: str | None = None  # of the plain layers
        self._notes: tuple[str, ...] = ()  # on how it was measured
        self._kept: tuple[str, ...] = ()  # how what broke can be run again
        self._reason = ""  # why the last measurement was not had
        self._failures, self._closed = 0, False
        self._began, self._logged = time.monotonic(), time.monotonic()
        self._each = 0.0  # seconds that went into what is done in every step
        self._spent, self._cost = 0.0, 0.0  # ... into all measurements, and into the last one
        self._cost_by_lag: float | None = None  # ... of which this was taken by the gradient by lag, where it was asked
        self._norms, self._after = array("d"), array("d")
        self._early: float | None = None  # the norm, where it was taken when the backward pass ended
        self._losses: list[float] = []  # since the last line
        self._status = "running"
        self._journal = begun(
            unwrapped(model),
            out if _first_process() else None,
            title=type(unwrapped(model)).__name__,
            every=every,
            share=share,
            clip_norm=clip_norm,
            optimizer=optimizer,
        )
        self._guard = Guard()
        self._calls = Calls(model, self._guard)
        self._hook = optimizer.register_step_pre_hook(self._clipped) if optimizer else None

    def step(self, loss: Tensor | float | None = None, *, scale: float = 1.0) -> None:
        """One step of the training: after backward() and before clipping, optimizer.step() and zero_grad().

        `loss` is what was differentiated. With torch.amp's GradScaler call it after `scaler.unscale_(optimizer)`; where
        loss and gradients are still scaled, give the factor: `scale=scaler.get_scale()`.
        """
        if self._closed:
            return
        begin, spent = time.monotonic(), self._spent
        self.index = self._guard.step = self.index + 1
        with self._guard:
            norm = (self._log_norm() if self._early is None else self._early) - math.log(scale)
            self._early = None
            value = None if loss is None else _number(loss) / scale
            self._norms.append(norm)
            self._after.append(math.nan)
            if what := seen(value, norm):
                self._break(what, scaled=scale != 1.0)
            elif self._calls.due and self._calls.heard:
                self._look()
            self._log(value, norm)
        with self._guard:
            listening = 0.0 if self._spent > spent else self._calls.listening
            self._each += time.monotonic() - begin - (self._spent - spent) + listening
            self._calls.next(due=self._due(self.index + 1))

    def norm_at_backward(self) -> None:
        """Take the norm when the backward pass ends, for a loop in which `step` can only be called after clipping."""
        self._calls.backward_ended = self._take_norm

    @property
    def returned_loss(self) -> Tensor | None:
        """The loss of this step where the model computes and returns it itself."""
        return self._calls.returned_loss

    @property
    def clipping(self) -> Clipping:
        """How the gradients were clipped so far."""
        told = not all(map(math.isnan, self._after))
        return clipping(self._norms, threshold=self.clip_norm, after=self._after if told else None)

    @property
    def report(self) -> Report:
        """All that is known by now."""
        return Report(
            title=type(unwrapped(self.model)).__name__,
            subject=self._subject | self._need() | ({"not measured": self._reason} if self._reason else {}),
            measurements=dict(self.measurements),
            findings=self._findings(),
            figures=self._figures(),
            status=self._status,
            curves=self._journal.curves(),
            environment=self._journal.environment,
            happenings=tuple(self._journal.happenings),
            foreign=True,
            notes=self._notes + self._kept,
        )

    def close(self, error: BaseException | None = None) -> None:
        """Stop watching; the hooks are taken off the model, and the last page is written."""
        if self._closed:
            return
        self._closed = True
        self._calls.close()
        if self._hook:
            self._hook.remove()
        with self._guard:
            if self._losses:
                self._line(self._norms[-1])
            self._status = "failed" if error else "finished"
            reason = {"reason": f"{type(error).__name__}: {error}".rstrip(": ")} if error else {}
            self._journal.event(self._status, step=self.index, **reason)
            self._journal.write(self.report, seconds=self._seconds, page=True)
        with suppress(OSError):
            self._journal.held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(error)

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {type(unwrapped(self.model)).__name__}, step {self.index:,}"

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def _budget(self) -> float:
        """Seconds that measurements may have taken by now."""
        share = self.share * self._seconds
        return max(share - self._each, MEASURING * share)

    def _due(self, index: int) -> bool:
        if self._failures >= PATIENCE:
            return False
        if not self.measurements and not self._failures:
            return True
        return index % self.every == 0 and self._spent + self._cost <= self._budget

    def _look(self) -> None:
        """Measure this step, and count what that costs."""
        begin, drawn, look = time.monotonic(), self._journal.drawn, None
        try:
            with flush_denormals(False), self._calls.quiet():
                calls, by_lag = self._calls.chain(), self._by_lag_is_due()
                look = looked(unwrapped(self.model), calls, step=self.index, by_lag=by_lag)
            self._failures, self._reason = 0, ""
            self._subject, self._activation, self._notes = self._subject | look.subject, look.activation, look.notes
            self.measurements["latest" if self.measurements else "start"] = look.measured
            self._journal.line(self.index, **logbook.looked(look.measured))
            self._journal.write(self.report, seconds=self._seconds)
        except Exception as error:
            self._failures += 1
            self._reason = sentence(error)
            self._journal.event("not measured", step=self.index, reason=self._reason)
            raise
        finally:
            took = time.monotonic() - begin + self._calls.listening
            self._spent += took
            apart = look.seconds_by_lag if look else None
            self._cost = took - (self._journal.drawn - drawn) - (apart or 0.0)
            self._cost_by_lag = self._cost_by_lag if apart is None else apart

    def _by_lag_is_due(self) -> bool:
        """Was the gradient of this step clipped, and is there time to ask which lags made it so large?"""
        if self.clip_norm is None or not self._norms[-1] > math.log(self.clip_norm):
            return False
        dear = DEAR * self._cost if self._cost_by_lag is None else self._cost_by_lag
        return self._spent + self._cost + dear <= self._budget

    def _break(self, what: str, *, scaled: bool) -> None:
        """The first step that is not finite. What a GradScaler's factor makes overflow, it takes back itself."""
        if self.broken or (scaled and what == "gradient"):
            return
        model = unwrapped(self.model)
        self.broken = Broken(self.index, what, None)
        with self._calls.quiet():
            calls = self._calls.chain()
            self.broken = broken(model, calls, step=self.index, what=what)
        self._journal.event("not finite", step=self.index, what=what, place=str(self.broken.place))
        if self._journal.run:
            try:
                kept.keep(self._journal.run, self.broken, model, calls)
                again = f"retrograd replay {self._journal.run.path} FILE.py:FUNCTION"
                self._kept = (f"Step {self.index:,} is kept, and runs again with {again}.",)
            except NotMeasured as error:
                self._journal.event("not kept", step=self.index, reason=str(error))

    def _log_norm(self) -> float:
        """ln |g| of all gradients, in one pass over them where float32 can hold it."""
        gradients = [p.grad for p in self._calls.parameters if p.grad is not None]
        with suppress(RuntimeError):  # they are sparse, or on several devices
            norms = torch._foreach_norm(gradients) if gradients else ()
            on_cpu = len(norms) <= FEW and not any(x.is_cuda for x in norms)
            norm = math.hypot(*map(float, norms)) if on_cpu else float(torch.linalg.vector_norm(torch.stack(norms)))
            if 1e-15 < norm < 1e18:
                return math.log(norm)
        return log_norm([g.coalesce().values() if g.is_sparse else g for g in gradients])

    def _take_norm(self) -> None:
        self._early = self._log_norm()

    def _clipped(self, *_: Any) -> None:
        """Before the optimiser's step: what clipping left."""
        if self._after:
            with self._guard:
                self._after[-1] = self._log_norm()

    def _log(self, loss: float | None, norm: float) -> None:
        self._losses.append(math.nan if loss is None else loss)
        now = time.monotonic()
        if len(self._losses) >= LOGGED and now - self._logged >= APART:
            self._logged = now
            self._line(norm)

    def _line(self, norm: float) -> None:
        """Numbers since the last line."""
        recent = len(self._losses)
        known = self.broken or not all(map(math.isnan, self._losses))
        loss = {"loss": sum(self._losses) / recent} if known else {}
        self._losses.clear()
        share = clipping(self._norms[-recent:], threshold=self.clip_norm).share
        told = {"log_grad_norm": norm} | loss | ({} if share is None else {"clipped": share})
        self._journal.line(self.index, seconds=round(self._seconds, 3), epoch=math.nan, **told)

    def _findings(self) -> tuple[Finding, ...]:
        found: tuple[Finding, ...] = ()
        for measured in list(self.measurements.values())[-1:]:
            found = judge(
                measured.horizon,
                measured.saturation,
                need=self.need or int(self._subject["steps"] or 1),
                assumed=None if self.need else SUPPOSED,
                foreign=True,
                activation=self._activation,
                window_adequacy=measured.window,
                clipping=self.clipping,
                nonfinite=self.broken.place if self.broken else None,
                step=self.broken.step if self.broken else measured.step,
                trained=measured.step > 1,
            )
        if self.broken and not any(finding.code == "non-finite" for finding in found):
            told = Finding("non-finite", "error", str(self.broken), {"training step": self.broken.step})
            return (told, *found)
        return found

    def _need(self) -> dict[str, str | int | float | None]:
        asked = self.need or self._subject.get("steps")
        return {"need": asked, "need is": "known" if self.need else f"assumed: {SUPPOSED}"} if asked else {}

    def _figures(self) -> dict[str, float]:
        cut = self.clipping
        _, median, _, largest = cut.log_norms or (None,) * 4
        norms = {"median gradient norm": median, "largest gradient norm": largest}
        return {name: _exp(x) for name, x in norms.items() if x is not None} | clipped.figures(cut)


def watch(
    model: nn.Module,
    *,
    every: int = 200,
    out: str | Path | None = None,
    need: int | None = None,
    clip_norm: float | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    share: float = SHARE,
) -> Watch:
    """Watch a training of your own: call `step` once in each of its steps, after backward() and before clipping.

    >>> with watch(model, every=200, out="runs/mine", clip_norm=1.0) as w:
    ...     for x, y in batches:
    ...         loss = F.cross_entropy(model(x).transpose(1, 2), y)
    ...         loss.backward()
    ...         w.step(loss)
    ...         clip_grad_norm_(model.parameters(), 1.0); optimizer.step(); optimizer.zero_grad()
    >>> w.report

    The first step is measured, and then every `every`-th, as long as watching takes no more than about `share` of the
    time; a run of some hundred steps pays more for the first. The model is run again for that, on the arguments and
    random states that it had. `need` is how many steps back the
    task must look. What clipping does is known from `clip_norm`, or by looking again before each step of `optimizer`.
    With `out` there is a run folder that `retrograd runs` and `retrograd report` read. Nothing in here stops a
    training: what fails is one RetrogradWarning.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"The model must be an nn.Module, got {type(model).__name__}.")
    for name, value in {"every": every, "need": need}.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UsageError(f"{name} is a number of steps, at least 1; got {value!r}.")
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise UsageError(f"clip_norm is the largest norm that clipping leaves, a number over 0; got {clip_norm!r}.")
    if not share > 0:
        raise UsageError(f"share is the part of the time that measuring may take, a number over 0; got {share!r}.")
    return Watch(model, every=every, share=share, need=need, out=out, clip_norm=clip_norm, optimizer=optimizer)


def _first_process() -> bool:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return True


def _number(loss: Tensor | float) -> float:
    if isinstance(loss, Tensor):
        return float(loss.detach()) if loss.numel() == 1 else float(loss.detach().double().mean())
    return float(loss)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf
