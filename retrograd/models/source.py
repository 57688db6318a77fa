"""When a model with a source reads it: once, before the first step of each sequence."""

from torch import Tensor

from retrograd.bptt import State
from retrograd.errors import ShapeError


def begins(state: State | None, starts: Tensor | None) -> bool:
    """Is the source to be read before this window? `starts` (T, B): where a sequence begins anew, as in a Stack.

    Raises ShapeError where some sequences begin and others go on, or one begins within the window: there is one source
    to each.
    """
    if starts is None or not bool(starts.any()):
        return state is None
    if bool(starts[0].all()) and not bool(starts[1:].any()):
        return True
    raise ShapeError("A sequence with a source begins at the first step of a window, and all of a window's together.")
