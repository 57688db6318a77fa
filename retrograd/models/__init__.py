"""What is trained or counted: networks made of cells, and n-grams."""

from retrograd.models.both_ways import BothWays
from retrograd.models.captioner import Captioner
from retrograd.models.encoder_decoder import EncoderDecoder
from retrograd.models.naive_bayes import NaiveBayes
from retrograd.models.ngram import NGram
from retrograd.models.recurrent import Recurrent, parameters
from retrograd.models.window import WindowLM

KINDS = ("recurrent", "window", "ngram", "naive-bayes")  # of model, by the config's model.kind
Network = Recurrent | BothWays | WindowLM | EncoderDecoder | Captioner  # what is trained
LanguageModel = Recurrent | WindowLM | NGram

__all__ = [
    "KINDS",
    "BothWays",
    "Captioner",
    "EncoderDecoder",
    "LanguageModel",
    "NGram",
    "NaiveBayes",
    "Network",
    "Recurrent",
    "WindowLM",
    "parameters",
]
