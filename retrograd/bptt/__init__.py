"""All time steps of a recurrent layer, forward and back."""

from retrograd.bptt.backends import BACKENDS, choose
from retrograd.bptt.bidirectional import Bidirectional
from retrograd.bptt.manual import Terms, bptt
from retrograd.bptt.stack import Stack, State

__all__ = ["BACKENDS", "Bidirectional", "Stack", "State", "Terms", "bptt", "choose"]
