"""What looking at a model costs, beside training it: H = 128, T = 200, B = 16, one loss a step.

    step        forward and backward of the fused module, as in training
    diagnose    rg.diagnose with its defaults, and with all its measures
    matrix      |dL_t/ds[k]| for all t and k in float32, beside T calls of autograd on the cell unrolled by hand

All in turn in one process; ratios of medians. At most 4 steps for the defaults and 40 for all are wanted, and of
autograd's time a tenth for the RNN and an eighth for the LSTM.
"""

import statistics

import torch
from torch import Tensor, nn

import retrograd as rg
from benchmarks import results

T, B, H = 200, 16, 128
ROUNDS = 9, 3  # of what takes steps, and of what takes T calls of autograd
KINDS = {"RNN": (nn.RNN, nn.RNNCell), "LSTM": (nn.LSTM, nn.LSTMCell)}


def main() -> None:
    found = {name: _measured(*kinds) for name, kinds in KINDS.items()}
    results.write("diagnose", threads=torch.get_num_threads(), shape={"T": T, "B": B, "H": H}, models=found)


def _measured(kind: type[nn.RNNBase], cell: type[nn.RNNCellBase]) -> dict[str, object]:
    torch.manual_seed(0)
    model, x = kind(H, H), torch.randn(T, B, H)

    def loss(m: nn.Module) -> Tensor:
        return m(x)[0].square().mean(-1)

    def step() -> None:
        model.zero_grad()
        loss(model).mean().backward()

    step(), rg.diagnose(model, loss)  # what is imported and allocated once
    quick = results.interleaved(
        {"step": step, "diagnose": lambda: rg.diagnose(model, loss), "all": lambda: rg.diagnose(model, loss, all=True)},
        rounds=ROUNDS[0],
    )
    slow = results.interleaved(
        {
            "carry": lambda: rg.carry(rg.record(model, loss), precision=torch.float32),
            "autograd": lambda: _by_autograd(_unrolled(model, cell), x),
        },
        rounds=ROUNDS[1],
    )
    middle = {name: statistics.median(seconds) for name, seconds in (quick | slow).items()}
    return {
        "seconds": {name: results.summary(seconds) for name, seconds in (quick | slow).items()},
        "diagnose in steps": middle["diagnose"] / middle["step"],
        "all in steps": middle["all"] / middle["step"],
        "autograd over matrix": middle["autograd"] / middle["carry"],
    }


def _unrolled(model: nn.RNNBase, cell: type[nn.RNNCellBase]) -> nn.RNNCellBase:
    """The same weights as a cell."""
    twin = cell(H, H)
    twin.load_state_dict({name.removesuffix("_l0"): p for name, p in model.state_dict().items()})
    return twin.requires_grad_(False)


def _by_autograd(cell: nn.RNNCellBase, x: Tensor) -> list[Tensor]:
    """The norms of each loss's gradient at each state of each sequence, one loss after the other."""
    h = torch.zeros(B, H, requires_grad=True)
    state = (h, torch.zeros(B, H, requires_grad=True)) if isinstance(cell, nn.LSTMCell) else h
    states, losses = [state], []
    for x_t in x:
        state = cell(x_t, state)
        states.append(state)
        losses.append((state[0] if isinstance(state, tuple) else state).square().mean(-1).sum())
    rows = []
    for t, loss in enumerate(losses, start=1):
        flat = [part for s in states[: t + 1] for part in (s if isinstance(s, tuple) else (s,))]
        gradients = torch.autograd.grad(loss, flat, retain_graph=True, materialize_grads=True)
        rows.append(torch.stack(gradients).norm(dim=-1))
    return rows


if __name__ == "__main__":
    main()
