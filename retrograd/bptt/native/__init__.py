"""Whole sequences in C++ (source/), several times as fast as torch's own kernels on a CPU."""

from retrograd.bptt.native.backend import native, native_rows, no_native
from retrograd.bptt.native.library import Library, library
from retrograd.bptt.native.operation import shrinking
from retrograd.bptt.native.softmax import softmax_loss
from retrograd.bptt.native.sweep import Maps, swept
from retrograd.bptt.native.whole import Whole, whole

__all__ = [
    "Library",
    "Maps",
    "Whole",
    "library",
    "native",
    "native_rows",
    "no_native",
    "shrinking",
    "softmax_loss",
    "swept",
    "whole",
]
