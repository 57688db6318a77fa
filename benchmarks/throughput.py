"""Training through retrograd beside the plainest torch loop: the same layer, softmax, optimiser and windows.

    ratio = tokens per second through retrograd / tokens per second of the plain loop

Each runs in a process of its own, as it does for its user, and they take turns of some steps. Retrograd's turns include
its logging and its measuring of the horizon. `python -m benchmarks.throughput` takes all cases, `python -m
benchmarks.throughput words` those whose name begins so.
"""

import multiprocessing as mp
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import nn

import retrograd as rg
from benchmarks import results
from retrograd.config import Config, Model
from retrograd.experiments.events import Planned
from retrograd.experiments.own_process import begin_own_process
from retrograd.experiments.training import training
from retrograd.tasks import make_task

STEPS, ROUNDS = 20, 16  # a turn, and how many turns each
SIZES = {
    "characters, {} 1 x 256": {
        "model": {"hidden": 256, "embedding": 64, "init": "default", "dropout": 0.0},
        "training": {"batch": 32, "window": 64, "optimizer": "adam"},
    },
    "words, {} 2 x 200, vocabulary 10,000": {
        "data": {"level": "word"},
        "model": {"hidden": 200, "layers": 2, "embedding": 200, "init": "default", "dropout": 0.0},
        "training": {"batch": 20, "window": 20, "optimizer": "sgd", "lr": 1.0},
    },
}
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU}
CASES = {
    name.format(cell.upper()): {**values, "model": {**values["model"], "cell": cell}}
    for name, values in SIZES.items()
    for cell in MODULES
}
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": lambda parameters, lr: torch.optim.Adam(parameters, lr, betas=(0.9, 0.99), fused=True),
}
ALWAYS = {"training": {"steps": 1_000_000, "clip_norm": 5.0, "schedule": "constant", "warmup": 0.0}}


def text(level: str) -> str:
    """Noise with 65 characters, or with 10,000 words of a Zipf distribution: speed does not ask what it says."""
    draw = torch.Generator().manual_seed(0)
    if level == "char":
        return "".join(chr(48 + i) for i in torch.randint(65, (1_000_000,), generator=draw).tolist())
    ranks = torch.multinomial(1 / torch.arange(2.0, 10_000), 900_000, True, generator=draw).tolist()
    words = [f"w{i}" for i in [*range(9_998), *ranks]]
    return "\n".join(" ".join(words[i : i + 20]) for i in range(0, len(words), 20)) + "\n"


class Plain(nn.Module):
    def __init__(self, vocabulary: int, m: Model) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, m.embedding)
        self.layers = MODULES[m.cell](m.embedding, m.hidden, m.layers)
        self.softmax = nn.Linear(m.hidden, vocabulary)


def plain_turn(settings: Config, task: object) -> Callable[[], None]:
    """A function that trains `STEPS` more steps by hand."""
    m, t = settings.model, settings.training
    model = Plain(task.vocabulary, m)
    optimizer = OPTIMIZERS[t.optimizer](model.parameters(), lr=t.lr)
    windows, state = task.training(), None

    def turn() -> None:
        nonlocal state
        for window in islice(windows, STEPS):
            optimizer.zero_grad()
            h, state = model.layers(model.embedding(window.inputs), state)
            logits = model.softmax(h)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), window.targets.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), t.clip_norm)
            optimizer.step()
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            loss.item()

    return turn


def retrograd_turn(settings: Config, out: Path) -> Callable[[], None]:
    """A function that trains `STEPS` more steps as `retrograd train` does."""
    begin_own_process()
    events = training(settings, out=out)
    assert isinstance(next(events), Planned)

    def turn() -> None:
        for _ in range(STEPS):
            next(events)

    return turn


def work(asked: Connection, who: str, settings: Config, out: Path) -> None:
    """A process: a turn for each message that comes, until there is none."""
    turn = retrograd_turn(settings, out) if who == "retrograd" else plain_turn(settings, make_task(settings))
    while asked.recv():
        turn()
        asked.send(True)


def _asked(of: Connection) -> None:
    of.send(True)
    of.recv()


def compare(name: str, folder: Path) -> dict[str, object]:
    case = rg.make_config(CASES[name])
    path = folder / "text.txt"
    path.write_text(text(case.data.level))
    values = {**CASES[name], "data": {**CASES[name].get("data", {}), "train": [str(path)]}}
    values["training"] = {**values["training"], **ALWAYS["training"]}
    settings = rg.make_config(values)
    turns, workers, spawn = {}, [], mp.get_context("spawn")
    for who in ("retrograd", "plain"):
        here, there = spawn.Pipe()
        worker = spawn.Process(target=work, args=(there, who, settings, folder / name.replace(" ", "-")))
        worker.start()
        there.close()
        turns[who] = partial(_asked, here)
        workers.append((worker, here))
    results.interleaved(turns, rounds=3)  # warm up
    seconds = results.interleaved(turns, rounds=ROUNDS)
    for worker, here in workers:
        here.send(False)
        worker.join()
    tokens = STEPS * settings.training.batch * settings.training.window
    speed = {who: results.summary([tokens / s for s in times]) for who, times in seconds.items()}
    ratios = [p / r for p, r in zip(seconds["plain"], seconds["retrograd"], strict=True)]
    total = sum(seconds["plain"]) / sum(seconds["retrograd"])
    return {"tokens per second": speed, "ratio": results.summary(ratios), "ratio of the totals": total}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = [name for name in CASES if not sys.argv[1:] or name.startswith(sys.argv[1])]
        results.write("throughput", threads=torch.get_num_threads(), cases={n: compare(n, Path(folder)) for n in names})


if __name__ == "__main__":
    main()
