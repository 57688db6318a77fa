"""Translation: BLEU on held-out pairs, greedy and with a beam of 4, and the minutes that training took.

python -m benchmarks.translation PAIRS.TSV        the last 1,000 pairs test, 1,000 before them validate
"""

import sys
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.trained import named, row
from retrograd.experiments.build import load
from retrograd.experiments.sentences import decoded
from retrograd.tasks import make_task

BEAM = 4


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Give a file of pairs: python -m benchmarks.translation PAIRS.TSV [EPOCHS]")
    changes = {"epochs": int(sys.argv[2])} if len(sys.argv) > 2 else {}
    settings = named("english-french", data={"train": [sys.argv[1]]}, task={"held_out": 1000}, training=changes)
    with tempfile.TemporaryDirectory() as folder:
        done, run = row(settings, Path(folder) / "run")
        searched = decoded(load(done.run.path), make_task(done.run.config()), beam=BEAM)
    samples = [f"{it.source} -> {it.output} (reference: {it.reference})" for it in searched.samples]
    beam = {"width": BEAM, "figures": searched.figures, "signature": searched.signature, "samples": samples}
    results.write("translation", pairs=Path(sys.argv[1]).name, run=run, beam=beam)


if __name__ == "__main__":
    main()
