"""What a process that does nothing but train sets once, for good.

Denormal numbers are flushed from the start (bptt/denormals.py), and memory that one step frees is kept for the next:
glibc hands large blocks back to the system, which then has to clear every page anew at each step.
"""

import ctypes
import sys

from retrograd.bptt import denormals

TRIM, TOP, MAPPED = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD of mallopt(3)
KEPT, AT_ONCE, LARGEST = 1 << 30, 64 << 20, 32 << 20  # bytes; no block larger than the last can be kept


def begin_own_process() -> None:
    denormals.flush_from_the_start()
    keep_memory()


def keep_memory() -> None:
    """Keep up to a gigabyte that is free; nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((MAPPED, LARGEST), (TRIM, KEPT), (TOP, AT_ONCE)):
            mallopt(parameter, value)
