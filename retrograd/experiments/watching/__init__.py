"""A training of somebody's own, watched: its gradients' reach, their clipping, and the first number that is not one."""

from retrograd.experiments.watching.guard import RetrogradWarning
from retrograd.experiments.watching.watcher import Watch, watch

__all__ = ["RetrogradWarning", "Watch", "watch"]
