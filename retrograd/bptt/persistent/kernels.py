"""Whole sequences in one launch: each program takes some sequences through all time steps, W_hh at hand throughout.

    forward   h, c = first;        t = 1 .. T:  read p[t],  h, c = F(p[t], h M, c),            write h[t], gates[t]
    back      dh, dc = dL/dlast;   t = T .. 1:  dh += dL/dh[t],  d[t] = dL/dz[t] of dh and dc,  dh = d[t] W

Axes: T steps, B batch, H hidden. A program holds ROWS sequences; W_hh, one (SIZE, SIZE) tile a gate, is read once and
stays in registers, and so do h and c. SIZE is H rounded up to a power of 2; what is beyond H is zero in every tile,
also where the row holds an infinity (0 * inf is NaN, and would spread). Of W_hh the tiles are
[from, to]: forward takes each gate's transpose, M, and back takes W as it is. So the threads of a warp stand side by
side in `to`, and a sum over `from` stays within a thread until the last few terms.

Where p[t] stood, forward leaves what the way back needs:

    Elman   h              (T, B, H)
    GRU     r z n a_n      (T, B, 4H), p in the first three blocks; a_n = W_n h + b_n, on which r acts
    LSTM    i f g o        (T, B, 4H)

Back gives d, of the same shape: dL/dp, and for a GRU dL/da_n last. Its pointers start at the last step.

One compilation serves every number of steps and sequences. Triton is imported here, at the top; whoever imports this
module does so in a function.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0917
# A kernel's language has no types that mypy knows, and takes its tensors in their order.

import triton
import triton.language as tl

# Of the pipeline: what a step reads from memory is fetched two steps before, for none of it needs the state.
STAGES = tl.constexpr(3)


@triton.jit
def _tanh(z):
    """By its odd series near 0, where 1 - exp would lose the digits; NaN stays NaN."""
    e = tl.exp(-2 * tl.abs(z))
    far = (1 - e) / (1 + e)
    q = z * z
    near = z * (1 + q * (-1 / 3 + q * (2 / 15 + q * (-17 / 315 + q * (62 / 2835)))))
    return tl.where(tl.abs(z) < 0.25, near, tl.where(z < 0, -far, far))


@triton.jit
def _activation(z, KIND: tl.constexpr):
    if KIND == "tanh":
        y = _tanh(z)
    elif KIND == "relu":
        y = tl.where(z < 0, 0.0, z)  # the maximum of NaN and 0 would be 0
    else:
        y = tl.sigmoid(z)
    return y


@triton.jit
def _slope_times(y, d, KIND: tl.constexpr):
    """d * dy/dz from y alone."""
    if KIND == "tanh":
        dz = d * (1 - y * y)
    elif KIND == "relu":
        dz = tl.where(y <= 0, 0.0, d)
    else:
        dz = d * y * (1 - y)
    return dz


@triton.jit
def _terms(v, M):
    """Of v M, before they are summed over `from`: (ROWS, from, to)."""
    return v[:, :, None] * M[None, :, :]


@triton.jit
def _times(v, M):
    """v M, (ROWS, SIZE). A sum leaves M in registers; tl.dot, which has no tensor cores for float32, would not."""
    return tl.sum(_terms(v, M), 1)


@triton.jit
def _tile(matrix, gate, H: tl.constexpr, SIZE: tl.constexpr):
    """One gate's (H, H) of a contiguous (gates, H, H)."""
    begin, end = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    return tl.load(matrix + gate * H * H + begin * H + end, (begin < H) & (end < H), 0.0)


@triton.jit
def _place(batch, WIDTH: tl.constexpr, H: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr):
    """Where this program's rows stand in a (B, WIDTH): offsets (ROWS, SIZE) of the first H, and which are there."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    unit = tl.arange(0, SIZE)[None, :]
    return row * WIDTH + unit, (row < batch) & (unit < H)


@triton.jit(do_not_specialize=["steps", "batch"])
def elman_forward(
    M, first, kept, last, steps, batch, KIND: tl.constexpr, H: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr
):
    at, live = _place(batch, H, H, SIZE, ROWS)
    M = _tile(M, 0, H, SIZE)
    h = tl.load(first + at, live, 0.0)
    kept += at
    for _ in tl.range(steps, num_stages=STAGES):
        p = tl.load(kept, live, 0.0)
        h = tl.where(live, _activation(p + _times(h, M), KIND), 0.0)
        tl.store(kept, h, live)
        kept += batch * H
    tl.store(last + at, h, live)


@triton.jit(do_not_specialize=["steps", "batch"])
def elman_backward(
    W,
    kept,
    d_h,
    d_last,
    d,
    d_first,
    steps,
    batch,
    KIND: tl.constexpr,
    H: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    at, live = _place(batch, H, H, SIZE, ROWS)
    W = _tile(W, 0, H, SIZE)
    dh = tl.load(d_last + at, live, 0.0)
    kept, d_h, d = kept + at, d_h + at, d + at
    for _ in tl.range(steps, num_stages=STAGES):
        dh += tl.load(d_h, live, 0.0)
        dz = tl.where(live, _slope_times(tl.load(kept, live, 0.0), dh, KIND), 0.0)
        tl.store(d, dz, live)
        dh = tl.where(live, _times(dz, W), 0.0)
        kept -= batch * H
        d_h -= batch * H
        d -= batch * H
    tl.store(d_first + at, dh, live)


@triton.jit(do_not_specialize=["steps", "batch"])
def gru_forward(
    M, bias, first, kept, outputs, last, steps, batch, H: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr
):
    """`bias` is b_n, (H), that of W_n alone; those of the other gates are in p."""
    at, live = _place(batch, H, H, SIZE, ROWS)
    wide, _ = _place(batch, 4 * H, H, SIZE, ROWS)
    M_r, M_z, M_n = _tile(M, 0, H, SIZE), _tile(M, 1, H, SIZE), _tile(M, 2, H, SIZE)
    unit = tl.arange(0, SIZE)
    b_n = tl.load(bias + unit, unit < H, 0.0)[None, :]
    h = tl.load(first + at, live, 0.0)
    kept, outputs = kept + wide, outputs + at
    for _ in tl.range(steps, num_stages=STAGES):
        p_r, p_z = tl.load(kept, live, 0.0), tl.load(kept + H, live, 0.0)
        p_n = tl.load(kept + 2 * H, live, 0.0)
        r = tl.sigmoid(p_r + _times(h, M_r))
        z = tl.sigmoid(p_z + _times(h, M_z))
        a_n = b_n + _times(h, M_n)
        n = _tanh(p_n + r * a_n)
        h = tl.where(live, n + z * (h - n), 0.0)
        tl.store(outputs, h, live)
        tl.store(kept, r, live)
        tl.store(kept + H, z, live)
        tl.store(kept + 2 * H, n, live)
        tl.store(kept + 3 * H, a_n, live)
        kept += batch * 4 * H
        outputs += batch * H
    tl.store(last + at, h, live)


@triton.jit(do_not_specialize=["steps", "batch"])
def gru_backward(
    W,
    first,
    kept,
    outputs,
    d_h,
    d_last,
    d,
    d_first,
    steps,
    batch,
    H: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    at, live = _place(batch, H, H, SIZE, ROWS)
    wide, _ = _place(batch, 4 * H, H, SIZE, ROWS)
    W_r, W_z, W_n = _tile(W, 0, H, SIZE), _tile(W, 1, H, SIZE), _tile(W, 2, H, SIZE)
    h_first, dh = tl.load(first + at, live, 0.0), tl.load(d_last + at, live, 0.0)
    kept, d, outputs, d_h = kept + wide, d + wide, outputs + at, d_h + at
    for back in tl.range(steps, num_stages=STAGES):
        has_past = (
            tl.full((1, 1), steps - 1 - back, tl.int32) > 0
        )  # a tile: the interpreter takes no single bool in a mask
        past = tl.load(outputs - batch * H, live & has_past, 0.0)
        past = tl.where(has_past, past, h_first)
        r, z = tl.load(kept, live, 0.0), tl.load(kept + H, live, 0.0)
        n, a_n = tl.load(kept + 2 * H, live, 0.0), tl.load(kept + 3 * H, live, 0.0)
        dh += tl.load(d_h, live, 0.0)
        d_n = tl.where(live, dh * (1 - z) * (1 - n * n), 0.0)
        d_z = tl.where(live, dh * (past - n) * z * (1 - z), 0.0)
        d_r = tl.where(live, d_n * a_n * r * (1 - r), 0.0)
        tl.store(d, d_r, live)
        tl.store(d + H, d_z, live)
        tl.store(d + 2 * H, d_n, live)
        tl.store(d + 3 * H, d_n * r, live)
        through = _terms(d_r, W_r) + _terms(d_z, W_z) + _terms(d_n * r, W_n)  # one sum over the threads, not three
        dh = tl.where(live, dh * z + tl.sum(through, 1), 0.0)
        kept -= batch * 4 * H
        d -= batch * 4 * H
        outputs -= batch * H
        d_h -= batch * H
    tl.store(d_first + at, dh, live)


@triton.jit(do_not_specialize=["steps", "batch"])
def lstm_forward(
    M, first, kept, outputs, memory, last, steps, batch, H: tl.constexpr, SIZE: tl.constexpr, ROWS: tl.constexpr
):
    at, live = _place(batch, H, H, SIZE, ROWS)
    wide, _ = _place(batch, 4 * H, H, SIZE, ROWS)
    double, _ = _place(batch, 2 * H, H, SIZE, ROWS)
    M_i, M_f = _tile(M, 0, H, SIZE), _tile(M, 1, H, SIZE)
    M_g, M_o = _tile(M, 2, H, SIZE), _tile(M, 3, H, SIZE)
    h, c = tl.load(first + double, live, 0.0), tl.load(first + double + H, live, 0.0)
    kept, outputs, memory = kept + wide, outputs + at, memory + at
    for _ in tl.range(steps, num_stages=STAGES):
        p_i, p_f = tl.load(kept, live, 0.0), tl.load(kept + H, live, 0.0)
        p_g, p_o = tl.load(kept + 2 * H, live, 0.0), tl.load(kept + 3 * H, live, 0.0)
        i = tl.sigmoid(p_i + _times(h, M_i))
        f = tl.sigmoid(p_f + _times(h, M_f))
        g = _tanh(p_g + _times(h, M_g))
        o = tl.sigmoid(p_o + _times(h, M_o))
        c = tl.where(live, f * c + i * g, 0.0)
        h = tl.where(live, o * _tanh(c), 0.0)
        tl.store(outputs, h, live)
        tl.store(memory, c, live)
        tl.store(kept, i, live)
        tl.store(kept + H, f, live)
        tl.store(kept + 2 * H, g, live)
        tl.store(kept + 3 * H, o, live)
        kept += batch * 4 * H
        outputs += batch * H
        memory += batch * H
    tl.store(last + double, h, live)
    tl.store(last + double + H, c, live)


@triton.jit(do_not_specialize=["steps", "batch"])
def lstm_backward(
    W,
    first,
    kept,
    memory,
    d_h,
    d_last,
    d,
    d_first,
    steps,
    batch,
    H: tl.constexpr,
    SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    at, live = _place(batch, H, H, SIZE, ROWS)
    wide, _ = _place(batch, 4 * H, H, SIZE, ROWS)
    double, _ = _place(batch, 2 * H, H, SIZE, ROWS)
    W_i, W_f = _tile(W, 0, H, SIZE), _tile(W, 1, H, SIZE)
    W_g, W_o = _tile(W, 2, H, SIZE), _tile(W, 3, H, SIZE)
    c_first = tl.load(first + double + H, live, 0.0)
    dh, dc = tl.load(d_last + double, live, 0.0), tl.load(d_last + double + H, live, 0.0)
    kept, d, memory, d_h = kept + wide, d + wide, memory + at, d_h + at
    for back in tl.range(steps, num_stages=STAGES):
        has_past = (
            tl.full((1, 1), steps - 1 - back, tl.int32) > 0
        )  # a tile: the interpreter takes no single bool in a mask
        past = tl.load(memory - batch * H, live & has_past, 0.0)
        past = tl.where(has_past, past, c_first)
        i, f = tl.load(kept, live, 0.0), tl.load(kept + H, live, 0.0)
        g, o = tl.load(kept + 2 * H, live, 0.0), tl.load(kept + 3 * H, live, 0.0)
        y = _tanh(tl.load(memory, live, 0.0))
        dh += tl.load(d_h, live, 0.0)
        dc += dh * o * (1 - y * y)
        d_i, d_f = tl.where(live, dc * g * i * (1 - i), 0.0), tl.where(live, dc * past * f * (1 - f), 0.0)
        d_g, d_o = tl.where(live, dc * i * (1 - g * g), 0.0), tl.where(live, dh * y * o * (1 - o), 0.0)
        tl.store(d, d_i, live)
        tl.store(d + H, d_f, live)
        tl.store(d + 2 * H, d_g, live)
        tl.store(d + 3 * H, d_o, live)
        through = _terms(d_i, W_i) + _terms(d_f, W_f) + _terms(d_g, W_g) + _terms(d_o, W_o)
        dh, dc = tl.where(live, tl.sum(through, 1), 0.0), tl.where(live, dc * f, 0.0)
        kept -= batch * 4 * H
        d -= batch * 4 * H
        memory -= batch * H
        d_h -= batch * H
    tl.store(d_first + double, dh, live)
    tl.store(d_first + double + H, dc, live)
