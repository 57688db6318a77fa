"""The loss of a softmax layer, in pieces, so that the logits of all rows are never there at once.

    z = W h + b          loss = mean over rows of -ln softmax(z)[target]

Forward takes each piece to the loss, and straight back to h, W and b while it is at hand: what is kept for the way back
is no more than the gradients themselves. Axes: N rows, H hidden, V types.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from retrograd.bptt.native.library import Softmax, loaded, missing

PIECE = 1 << 22  # logits held at once


def softmax_loss(h: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, *, ignored: int = -100) -> Tensor:
    """Mean cross-entropy of h (N, H) under W (V, H) and b (V) over the targets (N) that are not `ignored`.

    Differentiable once. Where the kernels do not fit it is torch's.
    """
    known = h.dtype in (torch.float32, torch.float64) and h.dtype == weight.dtype and h.device.type == "cpu"
    if missing() or not known or torch.compiler.is_compiling():
        return F.cross_entropy(F.linear(h, weight, bias), targets, ignore_index=ignored)
    asked = targets[targets != ignored]
    if len(asked) and not (int(asked.min()) >= 0 and int(asked.max()) < len(weight)):
        raise IndexError(f"Targets must be from 0 to {len(weight) - 1}, got {int(asked.min())} to {int(asked.max())}.")
    loss: Tensor = _Loss.apply((ignored, len(asked)), targets, h, weight, bias)  # type: ignore[no-untyped-call]
    return loss


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, asks: tuple[int, int], targets: Tensor, *tensors: Tensor) -> Tensor:
        (ignored, asked), (h, weight, bias) = asks, tensors
        h, targets, rows = h.contiguous(), targets.contiguous(), max(64, PIECE // len(weight))
        losses = torch.empty(len(h), dtype=torch.float64)
        needed = any(ctx.needs_input_grad)
        d_h, d_weight, d_bias = torch.empty_like(h), torch.zeros_like(weight), torch.zeros_like(bias)
        for begin in range(0, len(h), rows):
            part = slice(begin, begin + rows)
            z = torch.addmm(bias, h[part], weight.T)
            _gradient_(z, targets[part], losses[part], ignored, 1 / max(asked, 1))
            if needed:
                torch.mm(z, weight, out=d_h[part])
                d_weight.addmm_(z.T, h[part], beta=1.0 if begin else 0.0)
                d_bias += z.sum(0)
        if needed:
            ctx.save_for_backward(d_h, d_weight, d_bias)
        return (losses.sum() / asked if asked else losses.new_tensor(torch.nan)).to(h.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.saved_tensors if float(d_loss) == 1 else [g * d_loss for g in ctx.saved_tensors]
        wanted = zip(found, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(g if needed else None for g, needed in wanted)


def _gradient_(z: Tensor, targets: Tensor, losses: Tensor, ignored: int, scale: float) -> None:
    """The loss of each row into `losses`, and `scale` times its gradient in the place of the logits z."""
    task = Softmax(
        z.dtype == torch.float64,
        torch.get_num_threads(),
        *z.shape,
        z.data_ptr(),
        targets.data_ptr(),
        ignored,
        scale,
        losses.data_ptr(),
    )
    loaded().softmax(task)
