"""Thirty models that other people would write, to be diagnosed untouched, and the truth about each by brute force.

    model, loss = ZOO["bahdanau"]()         the model as it stands, and a loss of its own data
    check("bahdanau")                       how far the recorded gradients are from the truth

An entry names what is expected: that all its states are seen, or the sentence that says why they cannot be.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from benchmarks.zoo import cells, classifiers, language, sequences, unusual
from benchmarks.zoo.oracle import Look
from benchmarks.zoo.size import LARGE, SMALL, Made, Size

__all__ = ["ENTRIES", "LARGE", "SMALL", "ZOO", "Entry", "Made", "Size"]


def itself(state: Any) -> Any:
    return state


@dataclass(frozen=True)
class Entry:
    make: Callable[..., Made]
    look: Look = field(default_factory=Look)
    refused: str | None = None  # what the sentence must hold, where no state can be seen
    tolerance: float = 1e-6  # of the reach in float32, relative, where the model's own is no less; in float64 1e-9
    floor: float = 1e-30  # of the largest gradient: what the model itself cannot hold in float32


ENTRIES: dict[str, Entry] = {
    # language models
    "tied language model": Entry(language.tied_language_model, tolerance=1e-5),
    "weight-dropped": Entry(language.weight_dropped, tolerance=1e-5),
    "char rnn": Entry(language.char_rnn),
    "learned first state": Entry(language.learned_first_state),
    # classifiers
    "many to one": Entry(classifiers.many_to_one),
    "packed attention": Entry(classifiers.packed_attention),
    "frozen sequential": Entry(classifiers.frozen_sequential),
    "siamese": Entry(classifiers.siamese),
    "one step": Entry(classifiers.one_step, refused="one step"),
    "video": Entry(classifiers.video, tolerance=1e-5),
    # from sequence to sequence
    "tagger": Entry(sequences.tagger),
    "encoder-decoder": Entry(sequences.encoder_decoder),
    "bahdanau": Entry(sequences.bahdanau, Look(one_by_one=("decoder.gru",))),
    "cell decoder": Entry(sequences.cell_decoder, Look({"decoder.cell": itself})),
    "speech": Entry(sequences.speech, tolerance=1e-5),
    "transformer hybrid": Entry(sequences.transformer_hybrid),
    # cells of people's own
    "peephole": Entry(cells.peephole, Look({"cell": itself})),
    "layer-norm LSTM": Entry(cells.layer_norm_lstm, Look({f"cells.{i}": itemgetter(1) for i in range(2)})),
    "minimal gated": Entry(cells.minimal_gated, Look({"rnn_cell": itemgetter(1)})),
    "residual IndRNN": Entry(cells.residual_indrnn, Look({f"cells.{i}": itself for i in range(3)})),
    "zoneout": Entry(cells.zoneout, Look(given=("cell",)), tolerance=1e-5),
    "conv LSTM": Entry(cells.conv_lstm, Look({"cell": itself})),
    "actor": Entry(cells.actor, Look({"gru": itself})),
    # unusual
    "parametrised": Entry(unusual.parametrised),
    "projected": Entry(unusual.projected),
    "half precision": Entry(unusual.half_precision, tolerance=0.05),
    "compiled": Entry(unusual.compiled),
    "state space": Entry(unusual.state_space, Look(inputs={"ssm": 1}), tolerance=1e-4, floor=1e-6),
    "inline loop": Entry(unusual.inline_loop, Look(inputs={"": 0}), tolerance=1e-5),
    "continuous time": Entry(unusual.continuous_time, refused="no state"),
}
ZOO: dict[str, Callable[..., Made]] = {name: entry.make for name, entry in ENTRIES.items()}
