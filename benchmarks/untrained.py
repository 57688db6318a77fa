"""The table of the README and the demo: how far a loss on the last step reaches in cells nobody has trained."""

from dataclasses import asdict

from benchmarks import results
from retrograd.experiments.untrained import untrained

SEEDS = (0, 1, 2)


def main() -> None:
    table: dict[str, list[dict[str, object]]] = {}
    for seed in SEEDS:
        for case in untrained(seed=seed):
            kept = {name: asdict(case.horizon)[name] for name in ("steps", "low", "high", "decay")}
            table.setdefault(case.name, []).append({"shown": case.horizon.display, **kept})
    results.write("untrained", hidden=256, steps=400, seeds=SEEDS, horizons=table)


if __name__ == "__main__":
    main()
