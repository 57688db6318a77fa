"""What is trained or counted: networks made of cells, and n-grams."""

from retrograd.models.ngram import NGram
from retrograd.models.recurrent import RecurrentLM, parameters

MODELS: dict[str, type[RecurrentLM] | type[NGram]] = {"recurrent": RecurrentLM, "ngram": NGram}

__all__ = ["MODELS", "NGram", "RecurrentLM", "parameters"]
