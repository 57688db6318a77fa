"""The default character model trained by every backend, from the same starts: test nats per character.

python -m benchmarks.backends tiny_shakespeare.txt [STEPS]     as many steps for all, about five minutes on two cores

The starts differ by their seeds, and what one backend's seeds differ by is the noise that another's difference is to be
held against. All but the quickest take the first seed alone.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import retrograd as rg
from benchmarks import results
from retrograd.experiments.own_process import begin_own_process

SEEDS = {"native": (0, 1, 2), "fused": (0,), "reference": (0,)}
STEPS = 3500


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Give a text file: python -m benchmarks.backends TEXT [STEPS]")
    begin_own_process()  # as the command line does
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else STEPS
    nats: dict[str, dict[int, float]] = {name: {} for name in SEEDS}
    for seed in sorted({seed for seeds in SEEDS.values() for seed in seeds}):
        for name, seeds in SEEDS.items():
            if seed in seeds:
                nats[name][seed] = _trained(sys.argv[1], name, seed, steps)
                print(f"{name}, seed {seed}: {nats[name][seed]:.4f} nats", flush=True)
    apart = [abs(found[seed] - nats["native"][seed]) for found in nats.values() for seed in found]
    results.write(
        "backends",
        text=Path(sys.argv[1]).name,
        steps=steps,
        nats=nats,
        **{
            "largest difference from native, same seed": max(apart),
            "standard deviation over native's seeds": statistics.stdev(nats["native"].values()),
        },
    )


def _trained(text: str, backend: str, seed: int, steps: int) -> float:
    training = {"steps": steps, "backend": backend, "seed": seed}
    settings = rg.make_config({"data": {"train": [text]}, "training": training})
    with tempfile.TemporaryDirectory() as folder:
        return float(rg.train(settings, out=Path(folder) / "run").report.figures["test nats"])


if __name__ == "__main__":
    main()
