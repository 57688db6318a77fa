"""How much of the past the model of a run really uses: what its loss needs, not how far its gradient reaches.

    where every step is asked     measures.context, on the run's slice of the validation data
    where only the end is asked   excess[n] = L[t | all but the last n steps forgotten] - L[t], t the last step asked

What counts n-grams or reads a window uses no more than that by construction. Where the loss is no worse with one step
alone, one step is what is used.
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from retrograd import config, runs
from retrograd.errors import NotMeasured
from retrograd.experiments.build import load, sizes_of
from retrograd.experiments.measuring import load_window
from retrograd.experiments.objective import at_rest, losses
from retrograd.measures import Context, context
from retrograd.measures.bootstrap import estimate
from retrograd.measures.spacing import spaced
from retrograd.models import Network
from retrograd.tasks.window import Window
from retrograd.trace import Trace, cells_of, losses_forgetting, record_with
from retrograd.training import checkpoint

SHARE = 0.01  # of the excess with one step alone: what may be missing from what is called all
READS_ALL = "it counts every word of the text, wherever it stands"


@dataclass(frozen=True)
class Used:
    """Steps of the past, the present one among them; None where that was not measured, for the reason given."""

    steps: int | None
    more: bool = False  # is even the longest that could be measured not enough?
    why: str = ""  # it was not measured

    @property
    def values(self) -> dict[str, Any]:
        return asdict(self)


def used(path: Path) -> Used:
    """By the best model of a run."""
    run = runs.open_run(path)
    settings = run.config()
    if (known := by_construction(settings)) is not None:
        return known
    model, point = load(path), checkpoint.find(run.checkpoints)
    probe = load_window(run.kept("probe.safetensors"), sizes_of(point))
    try:
        with at_rest(model):
            return _told(measured(model, probe))
    except NotMeasured as error:
        return Used(None, why=str(error))


def by_construction(settings: config.Config) -> Used | None:
    """Of a model that cannot see further."""
    m = settings.model
    if m.kind == "naive-bayes":
        return Used(None, why=READS_ALL)
    steps = {"ngram": m.order - 1, "window": m.context}.get(m.kind)
    return None if steps is None else Used(steps)


def measured(model: Network, probe: Window) -> Context:
    """Raises NotMeasured where the past cannot be taken from the model."""
    loss = partial(losses, window=probe)
    if bool(probe.asked.any(1).all()):
        return context(model, loss, share=SHARE)
    last = int(probe.asked.any(1).nonzero().max())
    return at_the_end(model, loss, last=last, asked=probe.asked[last])


def at_the_end(model: nn.Module, loss: Any, *, last: int, asked: Tensor) -> Context:
    """Of the losses (T, B) at the step `last`, those of the sequences that are asked something there."""
    cells = cells_of(model, loss)
    trace = record_with(model, loss, cells)
    _refuse_what_cannot_forget(trace)

    def at_last(losses: Tensor) -> Tensor:
        return losses.detach().double().cpu()[last][asked.cpu()]

    whole, lengths = at_last(trace.losses), [n for n in spaced(last) if n <= last]
    excess = {n: at_last(losses_forgetting(model, loss, cells, last + 1 - n)) - whole for n in lengths}
    found = [estimate(lambda draw, each=excess[n]: each[draw].mean(-1), len(whole)) for n in lengths]  # type: ignore[misc]
    return Context(
        lengths=tuple(lengths),
        excess=tuple(it.value for it in found),
        low=tuple(it.low for it in found),
        high=tuple(it.high for it in found),
        whole=float(whole.mean()),
        share=SHARE,
        resets=len(lengths),
        sequences=len(whole),
    )


def _refuse_what_cannot_forget(trace: Trace) -> None:
    backwards = [layer.name for layer in trace.layers if layer.reverse or not layer.has_states or layer.begins]
    if backwards:
        raise NotMeasured(f"What went before cannot be taken from {', '.join(backwards)}.")


def _told(found: Context) -> Used:
    low = found.low[0]
    if found.excess[0] <= 0 or (low is not None and low <= 0):
        return Used(1)
    return Used(found.lengths[-1], more=True) if found.used is None else Used(found.used)
