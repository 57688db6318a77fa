"""Networks made of cells."""

from retrograd.models.ngram import NGram
from retrograd.models.recurrent import RecurrentLM, parameters

__all__ = ["NGram", "RecurrentLM", "parameters"]
