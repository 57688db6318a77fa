"""Whole sequences in one Triton kernel each way, for a GPU and a W_hh that fits into a program's registers."""

from retrograd.bptt.persistent.operation import no_program, persistent

__all__ = ["no_program", "persistent"]
