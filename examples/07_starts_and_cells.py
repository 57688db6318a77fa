"""Where a network starts decides how far its gradient reaches: cells and starts, untrained, on the same input.

The largest eigenvalue of an orthogonal start is 1 and a thousandth of the gradient is left after 25 steps: neither
eigenvalues nor singular values of the weights tell how far it reaches.
"""

import torch

import retrograd as rg

T, B, X, H = 100, 8, 32, 64
x = torch.randn(T, B, X, generator=torch.Generator().manual_seed(0))

STARTS = {
    "tanh, torch's default": (lambda: rg.Elman(X, H), "default"),
    "tanh, orthogonal": (lambda: rg.Elman(X, H), "orthogonal"),
    "IRNN": (lambda: rg.Elman(X, H, activation="relu"), "identity"),
    "np-RNN": (lambda: rg.Elman(X, H, activation="relu"), "np_rnn"),
    "additive": (lambda: rg.Additive(X, H), "default"),
    "GRU": (lambda: rg.GRU(X, H), "default"),
    "LSTM": (lambda: rg.LSTM(X, H), "default"),
    "LSTM, forget bias 3": (lambda: rg.LSTM(X, H), "forget_bias=3"),
}
for name, (cell, start) in STARTS.items():
    torch.manual_seed(0)
    stack = rg.Stack([cell()])
    rg.initialise_(stack, start)
    report = rg.diagnose(stack, lambda m: m(x)[0].square().mean(-1), need=T - 1)
    found = "; ".join(finding.code for finding in report.findings) or "nothing found"
    print(f"{name:24} horizon {report.horizon!s:>4}, {report.horizon.decay:.3f} per step: {found}")
