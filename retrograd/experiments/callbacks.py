"""`watch` for those whose loop is somebody else's.

    Trainer(callbacks=[LightningWatch(out="runs/mine")])                   Lightning
    Trainer(..., callbacks=[TrainerWatch(out="runs/mine")])                Hugging Face transformers

Neither package is needed until one of these is called. Each measures after the unscaling of mixed precision and before
clipping: Lightning has a hook there, `on_before_optimizer_step`; the hooks of transformers' Trainer come after
clipping, so there the norm is taken at the end of the backward pass itself.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor

from retrograd.errors import MissingExtra
from retrograd.experiments.watching import Watch, watch
from retrograd.experiments.watching.watcher import SHARE


def LightningWatch(
    *, every: int = 200, out: str | Path | None = None, need: int | None = None, share: float = SHARE
) -> Any:
    """A Lightning callback that watches the module while it is fitted; see `watch`. Its `watch` holds the report.

    >>> lightning.pytorch.Trainer(callbacks=[LightningWatch(every=200, out="runs/mine")]).fit(model, data)

    Where `training_step` does not call the module itself, `self(x)`, what is measured is its recurrent part. Raises
    MissingExtra where Lightning is not installed.
    """
    base = _base("lightning.pytorch", "Callback", "LightningWatch", "lightning")

    class _LightningWatch(base):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            self.watch: Watch | None = None
            self._loss: Tensor | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            by_norm = trainer.gradient_clip_algorithm in (None, "norm")
            self.watch = watch(
                pl_module,
                every=every,
                out=out if trainer.is_global_zero else None,
                need=need,
                share=share,
                clip_norm=(trainer.gradient_clip_val or None) if by_norm else None,
            )
            self.watch.index = trainer.global_step

        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
            self._loss = loss.detach()

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            if self.watch:  # the gradients are unscaled by now; the loss was scaled
                scaler = getattr(trainer.precision_plugin, "scaler", None)
                loss = None if self._loss is None else self._loss / (scaler.get_scale() if scaler else 1.0)
                self.watch.step(loss)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.watch:
                self.watch.close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            if self.watch:
                self.watch.close(exception)

    return _LightningWatch()


def TrainerWatch(
    *, every: int = 200, out: str | Path | None = None, need: int | None = None, share: float = SHARE
) -> Any:
    """A callback for transformers' Trainer that watches the model while it trains; see `watch`. Its `watch` holds the
    report.

    >>> transformers.Trainer(model, arguments, callbacks=[TrainerWatch(every=200, out="runs/mine")]).train()

    The loss is logged where the model returns it, as models that are given labels do. Raises MissingExtra where
    transformers is not installed.
    """
    base = _base("transformers", "TrainerCallback", "TrainerWatch", "transformers")

    class _TrainerWatch(base):  # type: ignore[valid-type, misc]
        def __init__(self) -> None:
            self.watch: Watch | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.watch:  # a training that ended in an error does not say so
                self.watch.close()
            self.watch = watch(
                given["model"],
                every=every,
                out=out if state.is_world_process_zero else None,
                need=need,
                share=share,
                clip_norm=args.max_grad_norm or None,
            )
            self.watch.index = state.global_step
            self.watch.norm_at_backward()

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.watch:
                scaler, loss = getattr(given.get("optimizer"), "scaler", None), self.watch.returned_loss
                scale = scaler.get_scale() if scaler else 1.0  # of the norm, which was taken before unscaling
                self.watch.step(None if loss is None else loss * scale, scale=scale)

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if self.watch:
                self.watch.close()

    return _TrainerWatch()


def _base(module: str, name: str, what: str, extra: str) -> Any:
    """Another package's class. Raises MissingExtra where that is not installed."""
    try:
        return getattr(import_module(module), name)
    except ImportError:
        raise MissingExtra(what, extra) from None
