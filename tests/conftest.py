"""What many tests share: a small text, and one small run of it that is trained once."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# small tensors: a second thread costs more than it brings, here and in the commands that the tests start
os.environ["OMP_NUM_THREADS"] = "1"
# what is measured on this machine is remembered for one run of the tests alone
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="retrograd-tests-")

import pytest
import torch

from retrograd import config
from retrograd.experiments.events import Finished
from retrograd.experiments.training import train

torch.set_num_threads(1)

# what a background job or nohup ignores, the commands that are sent signals here would ignore too
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TEXT = "".join(f"the {word} sat on the mat and looked at me {i} times\n" for i in range(60) for word in ("cat", "dog"))
SMALL = {
    "model": {"hidden": 16, "embedding": 8, "dropout": 0.0, "init": "default"},
    "training": {"steps": 30, "window": 16, "batch": 8, "lr": 0.01},
    "measure": {"every": 10, "share": 1e9},
}


@pytest.fixture(autouse=True)
def arithmetic() -> Iterator[None]:
    """As it was: a command in a test's own process flushes denormals, as a training's process does."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "mat.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def small(text: Path) -> config.Config:
    return config.make(config.merge(SMALL, {"data": {"train": [str(text)]}}))


@pytest.fixture(scope="session")
def trained(small: config.Config, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return train(small, out=tmp_path_factory.mktemp("runs") / "small")
