"""Networks made of cells."""

from retrograd.models.recurrent import RecurrentLM, parameters

__all__ = ["RecurrentLM", "parameters"]
