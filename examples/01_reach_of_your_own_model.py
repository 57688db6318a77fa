"""How far back does the gradient of a model of your own reach?   Nothing in the model is changed for it."""

import torch
from torch import nn

import retrograd as rg


class Tagger(nn.Module):
    """Somebody's model: it knows nothing of Retrograd."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 32)
        self.lstm = nn.LSTM(32, 64, num_layers=2, dropout=0.2, batch_first=True)
        self.labels = nn.Linear(64, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h, _ = self.lstm(self.embedding(tokens))
        return self.labels(h)


torch.manual_seed(0)
model = Tagger()
tokens, labels = torch.randint(50, (8, 200)), torch.randint(5, (8, 200))


def losses(m: nn.Module) -> torch.Tensor:
    """The loss of every step, time first."""
    each = nn.functional.cross_entropy(m(tokens).transpose(1, 2), labels, reduction="none")
    return each.transpose(0, 1)


report = rg.diagnose(model, losses, need=100, all=True)  # every measure there is
horizon = report.horizon
print(f"The gradient reaches {horizon} steps back and changes by a factor of {horizon.decay:.2f} with each step.")
for finding in report.findings:
    print(finding.message)
print(report)  # all of it, as text; report.to_html("report.html") is the page
