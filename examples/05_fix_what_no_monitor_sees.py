"""Embedding -> nn.RNN -> Linear, asked for its first token: what is wrong, the first remedy, and the proof of it.

The same from the command line, where the file is somebody's model:

    retrograd fix 05_fix_what_no_monitor_sees.py:make --need 19
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import retrograd as rg

TYPES, GAP = 12, 19


class Recall(nn.Module):
    """Somebody's model: it knows nothing of Retrograd."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TYPES, 16)
        self.rnn = nn.RNN(16, 64)
        self.head = nn.Linear(64, TYPES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0][-1])


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return cross_entropy(model(tokens), tokens[0])


def batches(length: int = GAP + 1) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(TYPES, (length, 32), generator=generator)


def make() -> tuple[nn.Module, object, object]:
    torch.manual_seed(0)
    return Recall(), loss, batches


if __name__ == "__main__":
    model, *_ = make()
    long = next(batches(200))
    loss(model, long).backward()
    print(f"The gradient of W_hh over 200 steps has norm {float(model.rnn.weight_hh_l0.grad.norm()):.2f}: all is well?")
    for finding in rg.diagnose(model, lambda m: loss(m, long), need=200).findings:
        print(finding.message)

    fixed = rg.fix(model, loss, need=GAP, batches=batches, steps=150)  # the first remedy that the diagnosis names
    print(fixed)
    rg.fix(model, loss, fixed.remedy, need=GAP, batches=batches, keep=True)  # now it stays in the model
    print(f"With it {rg.diagnose(model, lambda m: loss(m, long), need=200).horizon} of 200 steps are reached.")
