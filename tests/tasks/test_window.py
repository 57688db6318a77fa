"""Streams are cut so that every token is asked exactly once, behind the token before it."""

import pytest
import torch

from retrograd.tasks.window import IGNORED, Stream, cut

FIRST = 99


def stream(n: int, starts: tuple[int, ...] = (0,)) -> Stream:
    marks = torch.zeros(n, dtype=torch.bool)
    marks[list(starts)] = True
    return Stream(torch.arange(n), marks, FIRST)


@pytest.mark.parametrize("n", [1, 5, 23, 24])
@pytest.mark.parametrize("batch", [1, 2, 5, 40])
@pytest.mark.parametrize("window", [1, 3, 7, 100])
def test_every_token_is_a_target_once_and_its_input_is_the_token_before_it(n, batch, window):
    seen = []
    for w in cut(stream(n), batch=batch, window=window, carry=True):
        assert w.inputs.shape == w.targets.shape
        assert len(w.inputs) <= window
        asked = w.targets != IGNORED
        seen += w.targets[asked].tolist()
        before = torch.where(w.targets == 0, FIRST, w.targets - 1)
        assert torch.equal(w.inputs[asked], before[asked])
    assert sorted(seen) == list(range(n))


def test_pieces_go_on_from_window_to_window_and_start_once():
    windows = list(cut(stream(20), batch=2, window=4, carry=True))
    left = torch.cat([w.targets for w in windows])[:, 0]
    assert left.tolist() == list(range(10))
    assert windows[0].starts is not None
    assert windows[0].starts.tolist() == [[True, True], *[[False, False]] * 3]
    assert all(w.starts is None for w in windows[1:])


def test_a_document_starts_anew_only_where_the_state_is_not_carried():
    marked = stream(12, starts=(0, 5))
    carried = torch.cat([w.inputs for w in cut(marked, batch=1, window=12, carry=True)])
    assert carried[5, 0] == 4
    [reset] = cut(marked, batch=1, window=12, carry=False)
    assert reset.inputs[5, 0] == FIRST
    assert reset.starts is not None
    assert reset.starts[:, 0].nonzero().flatten().tolist() == [0, 5]


def test_the_epoch_counts_passes():
    epochs = [w.epoch for w in cut(stream(20), batch=2, window=4, carry=True, epoch=3)]
    assert epochs == pytest.approx([3.4, 3.8, 4.0])
