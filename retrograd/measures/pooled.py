"""The reach of one model over several batches, as if all their sequences had been one batch.

Lags are cut to the shortest batch's, and of the anchors as many are taken, the latest, as every batch has.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from retrograd.measures.reach import Reach


def pooled(reaches: Sequence[Reach]) -> Reach:
    """All sequences side by side. The anchors are those of the first batch.

    >>> pooled([reach(trace) for trace in traces]).log_norms.shape[-1]  # sequences
    32
    """
    lags = min(one.log_norms.shape[1] for one in reaches)
    anchors = min(len(one.anchors) for one in reaches)
    rows = [one.log_norms[-anchors:, :lags] for one in reaches]
    return replace(
        reaches[0],
        log_norms=torch.cat(rows, dim=-1),
        anchors=reaches[0].anchors[-anchors:],
        summed=any(one.summed for one in reaches),
        later=any(one.later for one in reaches),
    )
