"""Captions of two coloured shapes that were never seen together: exact match and BLEU of 1,000 held-out pictures.

python -m benchmarks.captioning [SEED...]
"""

import sys
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.trained import named, row


def main() -> None:
    seeds = [int(seed) for seed in sys.argv[1:]] or [1]
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            seed: row(named("coloured-shapes", training={"seed": seed}), Path(folder) / str(seed))[1] for seed in seeds
        }
    results.write("captioning", runs=runs)


if __name__ == "__main__":
    main()
