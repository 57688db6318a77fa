"""A layer over a whole sequence in one launch of a Triton kernel each way, on a GPU.

    p = W_ih x + b         one product over all time steps, straight into what the cell will keep
    states                 by the forward kernel; what the way back needs is left where p stood
    d = dL/dp, dL/da       of every step by the backward kernel, and dL/ds[0]
    dL/dW = d^T [x, h]     one product each over all time steps

A program keeps W_hh in its registers, so that a step waits for arithmetic and not for memory (persistent RNNs:
Diamos et al., 2016). That bounds the hidden size.

Axes: T time, B batch, X input, H hidden, S state; N = T * B rows of all steps together.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from retrograd.bptt.shapes import check_shapes
from retrograd.cells import GRU, LSTM, Cell, Elman
from retrograd.errors import MissingExtra

ACTIVATIONS = ("tanh", "relu", "sigmoid")
GATES = {"elman": 1, "gru": 3, "lstm": 4}
LARGEST = 128  # H; beyond it W_hh does not fit the registers of a program, and beyond 64 those of GRU and LSTM just so
NARROWEST = 16  # a tile is at least that wide
WARPS = 16  # of a program at most, of 32 threads
REGISTERS = {1: 32, 4: 64}  # of a thread for W_hh, while there are threads enough, by the sequences of a program
CROWDED = 64  # registers of a thread for W_hh, beyond which there is room for one sequence alone
TOGETHER = 4  # sequences of a program where there are many of them


@dataclass(frozen=True)  # no tuple: torch.amp would take it apart
class Plan:
    """Which kernels, and how they are cut up."""

    kind: str  # elman, gru or lstm
    activation: str
    size: int  # of a tile: H rounded up to a power of 2
    rows: int  # sequences of a program
    warps: int  # of a program


def persistent(cell: Cell, x: Tensor, s0: Tensor) -> tuple[Tensor, Tensor]:
    """(outputs (T, B, H), last state (B, S)), differentiable once. `no_program` says where it cannot run."""
    check_shapes(cell, x, s0)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    outputs, last = _Persistent.apply(_plan(cell, x), x, s0, *weights)  # type: ignore[no-untyped-call]
    return outputs, last


def no_program(cell: Cell) -> str | None:
    """Why this cell cannot run on a persistent kernel, or None where it can."""
    weight = cell.weight_ih
    if _kind(cell) is None:
        return "there is a persistent kernel for Elman with tanh, relu or sigmoid, GRU and LSTM only"
    if cell.hidden_size > LARGEST:
        return f"a persistent kernel holds at most {LARGEST} units, and this {cell.kind} has {cell.hidden_size}"
    if weight.dtype != torch.float32:
        return f"persistent kernels are in float32, and the weights in {str(weight.dtype).removeprefix('torch.')}"
    if weight.device.type != "cuda":
        return f"persistent kernels run on a GPU, and the weights are on the device {weight.device.type!r}"
    return None if _has_triton() else str(MissingExtra("a persistent kernel", "triton")).removesuffix(".")


def _kind(cell: Cell) -> str | None:
    if isinstance(cell, Elman):
        return "elman" if cell.activation in ACTIVATIONS else None
    return "gru" if isinstance(cell, GRU) else "lstm" if isinstance(cell, LSTM) else None


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _plan(cell: Cell, x: Tensor) -> Plan:
    kind = _kind(cell)
    assert kind is not None, f"{cell!r} has no persistent kernel"
    size = max(NARROWEST, _power_of_2(cell.hidden_size))
    numbers = GATES[kind] * size * size // 32  # of W_hh, for each thread of a warp
    rows = 1 if numbers > WARPS * CROWDED else _rows(x)
    warps = min(WARPS, _power_of_2(-(-numbers // REGISTERS[rows])))
    return Plan(kind, getattr(cell, "activation", ""), size, rows, warps)


def _power_of_2(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def _rows(x: Tensor) -> int:
    """Sequences of a program: one while there is a multiprocessor for each, or for two of them."""
    return 1 if x.device.type == "cuda" and x.shape[1] <= 2 * _multiprocessors(x.device) else TOGETHER


@cache
def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class Weights(NamedTuple):
    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


class Run(NamedTuple):
    """What comes of a sequence, but for its last state: outputs, and what the way back needs."""

    h: Tensor  # (T, B, H)
    kept: Tensor  # (T, B, 4H), gates; of an Elman cell nothing, for h is all
    c: Tensor  # (T, B, H) of an LSTM, else nothing


def forward(plan: Plan, x: Tensor, first: Tensor, weights: Weights) -> tuple[Run, Tensor]:
    """The run and the last state (B, S)."""
    H = weights.hh.shape[1]
    first, kept, nothing = first.contiguous(), _projected(plan, x, weights), x.new_empty(0)
    from_to = weights.hh.reshape(-1, H, H).transpose(1, 2).contiguous()
    h = kept if plan.kind == "elman" else x.new_empty(*x.shape[:2], H)
    c = torch.empty_like(h) if plan.kind == "lstm" else nothing
    last = torch.empty_like(first)
    if plan.kind == "elman":
        _launch(plan, "forward", kept, [from_to, first, kept, last])
        return Run(h, nothing, nothing), last
    if plan.kind == "gru":
        bias = first.new_zeros(H) if weights.bias_hh is None else weights.bias_hh[2 * H :].contiguous()
        _launch(plan, "forward", h, [from_to, bias, first, kept, h, last])
    else:
        _launch(plan, "forward", h, [from_to, first, kept, h, c, last])
    return Run(h, kept, c), last


def _projected(plan: Plan, x: Tensor, weights: Weights) -> Tensor:
    """p (T, B, G*H); of a GRU in the first three of four blocks, and with the biases that stand outside of r."""
    gates, H = weights.hh.shape
    kept = x.new_empty(*x.shape[:2], 4 * H if plan.kind == "gru" else gates)
    p = kept.flatten(0, 1)[:, :gates]
    if weights.bias_ih is None or weights.bias_hh is None:
        torch.mm(x.flatten(0, 1), weights.ih.T, out=p)
        return kept
    bias = weights.bias_ih + weights.bias_hh
    if plan.kind == "gru":
        bias[2 * H :] = weights.bias_ih[2 * H :]
    torch.addmm(bias, x.flatten(0, 1), weights.ih.T, out=p)
    return kept


def at_gates(plan: Plan, first: Tensor, hh: Tensor, run: Run, *, d_h: Tensor, d_last: Tensor) -> tuple[Tensor, Tensor]:
    """d (T, B, H or 4H) of every step, and dL/ds[0] (B, S)."""
    first, hh, d_h, d_last = (it.contiguous() for it in (first, hh, d_h, d_last))
    d, d_first = torch.empty_like(run.h if plan.kind == "elman" else run.kept), torch.empty_like(first)
    tail = [d_h[-1], d_last, d[-1], d_first]
    if plan.kind == "elman":
        _launch(plan, "backward", run.h, [hh, run.h[-1], *tail])
    elif plan.kind == "gru":
        _launch(plan, "backward", run.h, [hh, first, run.kept[-1], run.h[-1], *tail])
    else:
        _launch(plan, "backward", run.h, [hh, first, run.kept[-1], run.c[-1], *tail])
    return d, d_first


def _launch(plan: Plan, way: str, h: Tensor, tensors: list[Tensor]) -> None:
    """The kernel of that name on the tensors it takes, in its order. A batch of nothing has nothing to launch."""
    from retrograd.bptt.persistent import kernels

    steps, batch, H = h.shape
    if not batch:
        return
    options: dict[str, Any] = {"num_warps": plan.warps, "enable_fp_fusion": True}
    if plan.kind == "elman":
        options["KIND"] = plan.activation
    kernel = getattr(kernels, f"{plan.kind}_{way}")[(-(-batch // plan.rows),)]
    with torch.cuda.device_of(h):  # type: ignore[no-untyped-call]
        kernel(*tensors, steps, batch, H=H, SIZE=plan.size, ROWS=plan.rows, **options)


def weight_hh_gradient(plan: Plan, first: Tensor, h: Tensor, d: Tensor) -> Tensor:
    """dL/dW_hh, (G*H, H): each step's gradient at a by the h that it read."""
    batch, H = first.shape[0], h.shape[2]
    blocks = [slice(0, 2 * H), slice(3 * H, 4 * H)] if plan.kind == "gru" else [slice(0, d.shape[2])]
    d, past = d.flatten(0, 1), h[:-1].flatten(0, 1)
    return torch.cat([(d[:batch, b].T @ first[:, :H]).addmm_(d[batch:, b].T, past) for b in blocks])


class _Persistent(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cuda", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, plan: Plan, x: Tensor, first: Tensor, *weights: Tensor | None) -> tuple[Tensor, Tensor]:
        run, last = forward(plan, x, first, Weights(*weights))  # type: ignore[arg-type]  # W_ih and W_hh are there
        ctx.plan = plan
        ctx.save_for_backward(x, first, *weights[:2], *run)
        return run.h, last

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cuda")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, d_h: Tensor, d_last: Tensor
    ) -> tuple[Tensor | None, ...]:
        plan, (x, first, ih, hh, *run) = ctx.plan, ctx.saved_tensors
        _, needs_x, _, needs_ih, needs_hh, needs_b, needs_a = ctx.needs_input_grad
        d, d_first = at_gates(plan, first, hh, Run(*run), d_h=d_h, d_last=d_last)
        at_p = d.flatten(0, 1)[:, : len(ih)]
        d_x = (at_p @ ih).view_as(x) if needs_x else None
        d_ih = at_p.T @ x.flatten(0, 1) if needs_ih else None
        d_hh = weight_hh_gradient(plan, first, Run(*run).h, d) if needs_hh else None
        d_b, d_a = _bias_gradients(plan, d.flatten(0, 1)) if needs_b or needs_a else (None, None)
        return None, d_x, d_first, d_ih, d_hh, d_b if needs_b else None, d_a if needs_a else None


def _bias_gradients(plan: Plan, d: Tensor) -> tuple[Tensor, Tensor]:
    """At b_ih and b_hh: apart in the block on which a GRU's r acts, else alike."""
    sums = d.sum(0)
    if plan.kind != "gru":
        return sums, sums.clone()
    r, z, p_n, a_n = sums.chunk(4)
    return torch.cat([r, z, p_n]), torch.cat([r, z, a_n])
