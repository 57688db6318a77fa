"""A training that is watched at the default schedule beside the same training that is not.

    share = (seconds watched - seconds plain) / seconds plain       at most 0.02, of the whole run
    the weights of both at the end, bit for bit                     equal

Both take turns of some steps in one process. The watched turns hold all that `rg.watch` does in a loop: its hooks, the
norm of the gradients in each step, and the measurements, the first of them in the first step. What it does when it is
closed (the last page, where a folder was named) comes after the training and is told apart.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import retrograd as rg
from benchmarks import results
from retrograd.experiments.watching import Watch

T, B, V = 200, 16, 64
CASES = {  # name -> the layer, steps of a turn, turns
    "LSTM 128, T = 200, B = 16": (lambda: nn.LSTM(64, 128), 20, 40),
    "RNN 128, T = 200, B = 16": (lambda: nn.RNN(64, 128), 20, 60),
    "LSTM 2 x 128 with dropout, T = 200, B = 16": (lambda: nn.LSTM(64, 128, 2, dropout=0.2), 10, 40),
}


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embedding, self.layer, self.head = nn.Embedding(V, 64), layer, nn.Linear(128, V)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.embedding(x))[0])
        return logits


class Training:
    """One run; its random numbers are its own, so that the two do not draw each other's."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        torch.manual_seed(0)
        self.model = Model(make())
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.random = torch.get_rng_state()
        self.watch: Watch | None = None
        self.busy = 0.0  # seconds of the processor, which others on the machine do not add to

    def turn(self, steps: int) -> None:
        begin = time.process_time()
        torch.set_rng_state(self.random)
        for _ in range(steps):
            x = torch.randint(V, (T, B))
            loss = F.cross_entropy(self.model(x).flatten(0, 1), x.roll(1, 0).flatten())
            loss.backward()
            if self.watch:
                self.watch.step(loss)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.random = torch.get_rng_state()
        self.busy += time.process_time() - begin


def compare(name: str, folder: Path) -> dict[str, object]:
    make, steps, turns = CASES[name]
    plain, watched = Training(make), Training(make)
    watched.watch = watch = rg.watch(watched.model, out=folder / "run", clip_norm=1.0)

    def plain_turn() -> None:
        begin = time.monotonic()
        plain.turn(steps)
        watch._began += time.monotonic() - begin  # the clock of its share stands still meanwhile

    seconds = results.interleaved({"plain": plain_turn, "watched": lambda: watched.turn(steps)}, rounds=turns)
    begin = time.perf_counter()
    watch.close()
    closing = time.perf_counter() - begin
    each = zip(plain.model.parameters(), watched.model.parameters(), strict=True)
    looks = list(watch.report.curves["horizon"].steps)
    totals = {who: sum(times) for who, times in seconds.items()}
    shares = [w / p - 1 for w, p in zip(seconds["watched"], seconds["plain"], strict=True)]
    busy = {"plain": plain.busy, "watched": watched.busy}
    return {
        "steps": steps * turns,
        "seconds": totals,
        "milliseconds a step": {who: 1000 * total / steps / turns for who, total in totals.items()},
        "seconds of the processor": busy,
        "share of the whole run, of the processor's time": busy["watched"] / busy["plain"] - 1,
        "share of the whole run": totals["watched"] / totals["plain"] - 1,
        "share of a turn without a measurement": results.summary(shares)["median"],
        "measured at steps": looks,
        "by its own clock": {
            "share of the measurements": watch._spent / totals["watched"],
            "share of what is done in every step": watch._each / totals["watched"],
            "microseconds a step": 1e6 * watch._each / steps / turns,
        },
        "seconds to close, with the page": closing,
        "weights equal to the last bit": all(torch.equal(a, b) for a, b in each),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in CASES if not sys.argv[1:] or name.startswith(sys.argv[1])]
        found = {name: compare(name, Path(folder, str(i))) for i, name in enumerate(names)}
        results.write("watch", threads=torch.get_num_threads(), cases=found)


if __name__ == "__main__":
    main()
