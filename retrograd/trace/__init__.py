"""What happened inside a model's recurrent layers while it computed one loss: states and gradients at every step."""

from retrograd.trace.record import record
from retrograd.trace.trace import LayerTrace, Trace

__all__ = ["LayerTrace", "Trace", "record"]
