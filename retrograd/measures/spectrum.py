"""The recurrent weights' eigenvalues and singular values: of W_hh, or of the block of each gate or tap.

    W v = w v          radius = max |w|          W = U diag(sigma) V^T          sigma_max = max |W v| / |v|

|w| < 1 decays and > 1 grows, a complex pair turns, a negative real alternates. The radius alone decides neither
vanishing nor exploding. A tap's block acts once in as many steps as the tap is long, and the taps' add up.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from retrograd.cells import Cell
from retrograd.trace import LayerTrace, Trace


@dataclass(frozen=True)
class BlockSpectrum:
    """Of one square block (H, H)."""

    gate: str  # "h" for a cell without gates, else "i", "f", "g", "o" or "r", "z", "n"; "tap 1", "tap 4"
    eigenvalues: tuple[tuple[float, float], ...]  # (real, imaginary), the largest modulus first
    radius: float
    singular_values: tuple[float, ...]  # the largest first

    @property
    def sigma_max(self) -> float:
        return self.singular_values[0]


@dataclass(frozen=True)
class LayerSpectrum:
    layer: str
    cell: str  # the class: "LSTM"
    blocks: tuple[BlockSpectrum, ...]


@dataclass(frozen=True)
class Spectrum:
    layers: tuple[LayerSpectrum, ...]


def spectrum(trace: Trace) -> Spectrum:
    """The spectrum of every known layer's W_hh, in float64; a layer that ran several times is there once.

    An additive layer has no W_hh, and so no blocks: its Jacobian is the identity, whatever its weights. A block that
    holds a NaN or an infinity has NaN for everything. A block takes about 10 H^3 operations, a third of a second for
    H = 512, on one thread, which is LAPACK's own; so a thread takes each block, as many together as torch has threads.

    >>> spectrum(trace).layers[0].blocks[0].radius
    0.58
    """
    first: dict[Cell, LayerTrace] = {}
    for layer in trace.layers:
        if layer.cell is not None:
            first.setdefault(layer.cell, layer)
    return Spectrum(tuple(_of_layer(layer, cell) for cell, layer in first.items()))


def _of_layer(layer: LayerTrace, cell: Cell) -> LayerSpectrum:
    names, blocks = cell.recurrent_blocks.keys(), (block.double().cpu() for block in cell.recurrent_blocks.values())
    with ThreadPoolExecutor(max(1, torch.get_num_threads())) as threads:
        return LayerSpectrum(layer.name, layer.kind, tuple(threads.map(_of_block, names, blocks)))


def _of_block(gate: str, W: Tensor) -> BlockSpectrum:
    if not W.isfinite().all():  # LAPACK refuses it
        return BlockSpectrum(gate, ((math.nan, math.nan),) * len(W), math.nan, (math.nan,) * len(W))
    found = [(w.real, w.imag) for w in torch.linalg.eigvals(W).tolist()]
    ordered = sorted(found, key=lambda w: (-math.hypot(*w), -w[0], -w[1]))  # of equal moduli the largest real first
    return BlockSpectrum(gate, tuple(ordered), math.hypot(*ordered[0]), tuple(torch.linalg.svdvals(W).tolist()))
