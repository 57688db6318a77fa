"""What happened inside a model's recurrent layers while it computed one loss: states and gradients at every step."""

from retrograd.trace.discovery import register
from retrograd.trace.layer import LayerTrace
from retrograd.trace.record import cells_of, losses_forgetting, record, record_with
from retrograd.trace.trace import Trace

__all__ = ["LayerTrace", "Trace", "cells_of", "losses_forgetting", "record", "record_with", "register"]
