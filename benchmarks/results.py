"""Where every benchmark writes: benchmarks/results/NAME.json, with the hardware and the versions it was taken on."""

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "retrograd": version("retrograd"),
        "date": time.strftime("%Y-%m-%d"),
    }


def write(name: str, **figures: Any) -> None:
    """Write and print the result."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps({"command": _command(), "machine": machine(), **figures}, indent=2)
    (FOLDER / f"{name}.json").write_text(text + "\n")
    print(text)


def _command() -> str:
    """What was run; of a file only its name."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).stem
    return shlex.join(["python", "-m", module, *(Path(x).name if Path(x).exists() else x for x in sys.argv[1:])])


def interleaved(candidates: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate, taken in turn, so that a change of the machine's speed meets all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def summary(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
