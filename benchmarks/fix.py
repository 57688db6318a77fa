"""What no training monitor sees, fixed: Embedding -> nn.RNN(64) -> Linear, asked at the end for its first token.

reach     T = 200: the horizon before and with each remedy, over seeds
gaps      `prove` with the first remedy that the diagnosis names: accuracy without it and with it, by gap and seed
remedies  the same at one gap, for every remedy that this model can have

Every token is drawn from the same types, so the first is told from the others by its place alone; batches are fresh.
    python -m benchmarks.fix [gaps | remedies]
"""

import sys
import time
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import results
from retrograd.experiments.examination import diagnose
from retrograd.experiments.fixing import first_of, fix
from retrograd.experiments.proving import prove
from retrograd.remedies import remedy_named

TYPES, EMBEDDING, HIDDEN, BATCH = 12, 16, 64, 32
LENGTH, STEPS, LR = 200, 300, 3e-3
GAPS, GAP = (10, 20, 30, 40, 60), 20
SEEDS, FEW = (0, 1, 2, 3, 4), (0, 1, 2)
REMEDIES = {
    "orthogonal": (),
    "calibrated": (),
    "identity": (),
    "np_rnn": (),
    "spectral_radius": (1.0,),
    "irnn": (),
    "gated_cell": (),
    "additive_path": (),
    "norm_preserving": (),
    "flossing": (),
    "clip_in_time": (),
}
UNTRAINED = [name for name in REMEDIES if remedy_named(name).kind != "training"]


class Recall(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(TYPES, EMBEDDING)
            self.rnn = nn.RNN(EMBEDDING, HIDDEN)
            self.head = nn.Linear(HIDDEN, TYPES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0][-1])


def batches(length: int, seed: int) -> Iterator[Tensor]:
    """Token numbers (length, BATCH), without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randint(TYPES, (length, BATCH), generator=generator)


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return cross_entropy(model(tokens), tokens[0])


def accuracy(model: nn.Module, tokens: Tensor) -> float:
    return float((model(tokens).argmax(-1) == tokens[0]).float().mean())


def reach() -> dict[str, dict[str, list[str]]]:
    """The horizon of each remedy at T = 200, by seed, and that of the model without."""
    table: dict[str, dict[str, list[str]]] = {}
    for name in UNTRAINED:
        found = [
            fix(Recall(seed), loss, name, *REMEDIES[name], need=LENGTH, batches=partial(batches, LENGTH, seed))
            for seed in SEEDS
        ]
        table[name] = {
            "before": [fixed.before.horizon.display for fixed in found],
            "after": [fixed.after.horizon.display for fixed in found],
        }
    return table


def trained(name: str, numbers: tuple[float, ...], gap: int, seed: int) -> dict[str, float | str]:
    proof = prove(
        Recall(seed),
        loss,
        name,
        *numbers,
        batches=partial(batches, gap + 1, seed),
        steps=STEPS,
        lr=LR,
        seeds=(seed,),
        score=accuracy,
    )
    [pair] = proof.pairs
    return {
        "seed": seed,
        "without": pair.plain.score or 0.0,
        "with": pair.remedied.score or 0.0,
        "loss without": pair.plain.loss,
        "loss with": pair.remedied.loss,
        "learns without": pair.learns(pair.plain),
        "learns with": pair.learns(pair.remedied),
    }


def main() -> None:
    begin, wanted = time.monotonic(), sys.argv[1:] or ["reach", "gaps", "remedies"]
    figures: dict[str, object] = {}
    if "reach" in wanted:
        figures["reach"] = reach()
    if "gaps" in wanted:
        tokens = next(batches(LENGTH, 0))
        patch, numbers = first_of(diagnose(Recall(0), lambda model: loss(model, tokens), need=LENGTH - 1))
        figures["first remedy"] = patch.name
        figures["gaps"] = {gap: [trained(patch.name, numbers, gap, seed) for seed in SEEDS] for gap in GAPS}
    if "remedies" in wanted:
        figures["remedies"] = {
            name: [trained(name, numbers, GAP, seed) for seed in FEW] for name, numbers in REMEDIES.items()
        }
    results.write("fix", steps=STEPS, lr=LR, gap=GAP, seconds=round(time.monotonic() - begin), **figures)


if __name__ == "__main__":
    main()
