"""dL/dW_hh is a sum over time: every term of it, adding up to autograd's gradient, and the lags that dominate it."""

import torch

import retrograd as rg
from retrograd.bptt import bptt

torch.manual_seed(0)
T, B, X, H = 40, 4, 8, 16
cell = rg.Elman(X, H).double()
x = torch.randn(T, B, X, dtype=torch.float64)
d_outputs = torch.randn(T, B, H, dtype=torch.float64)

terms = bptt(cell, x, cell.initial_state(B), d_outputs)
by_hand = sum(terms.weight_hh_term(t) for t in range(1, T + 1))

outputs, _ = rg.BACKENDS["reference"](cell, x, cell.initial_state(B))
(by_autograd,) = torch.autograd.grad((outputs * d_outputs).sum(), cell.weight_hh)
print(f"largest difference to autograd: {(by_hand - by_autograd).abs().max():.1e}")
for t in (1, 10, 20, 40):
    share = terms.weight_hh_term(t).norm() / by_autograd.norm()
    print(f"step {t:2}: its term is {share:.3f} of the gradient's norm")
