"""What every entry of CELLS is put through: each cell in each of its forms, by name, on the backends that are here."""

import torch
from torch import Tensor

from retrograd.bptt.backends import BACKENDS, OBSTACLES
from retrograd.cells import Cell, make_cell

# every entry of CELLS, Elman in each of its activations, and taps with and without the one of a single step; the names
# are those of oracles.STEPS
FORMS: dict[str, tuple[str, dict[str, object]]] = {
    "elman": ("elman", {}),
    "elman-relu": ("elman", {"activation": "relu"}),
    "elman-sigmoid": ("elman", {"activation": "sigmoid"}),
    "elman-identity": ("elman", {"activation": "identity"}),
    "gru": ("gru", {}),
    "lstm": ("lstm", {}),
    "additive": ("additive", {}),
    "multi-tap": ("multi-tap", {}),
    "multi-tap-relu": ("multi-tap", {"taps": (2, 3), "activation": "relu"}),
}

KNOWN = [form for form, (name, _) in FORMS.items() if name != "multi-tap"]  # to the native kernels

X, H, B, T = 3, 5, 4, 7


def cell_of(form: str, *, dtype: torch.dtype = torch.float64, **options: object) -> Cell:
    """A small cell of that form, the same weights at each call."""
    name, fixed = FORMS[form]
    torch.manual_seed(7)
    return make_cell(name, X, H, **fixed, **options).to(dtype)


def point(cell: Cell, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, X) and a first state (B, S) that is not zero."""
    torch.manual_seed(seed)
    like = cell.weight_ih
    x = torch.randn(T, B, X, dtype=like.dtype, device=like.device)
    return x, torch.randn(B, cell.state_size, dtype=like.dtype, device=like.device)


# native may not be built, and persistent needs a GPU
HERE = [b for b in BACKENDS if b not in OBSTACLES or not OBSTACLES[b](cell_of("lstm"))]
