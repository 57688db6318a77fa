"""The default character model on a text of one's own for five minutes: test nats per character.

python -m benchmarks.char_lm tiny_shakespeare.txt          (90 / 5 / 5 by position; at most 1.55 there)
"""

import sys
import tempfile
from pathlib import Path

import retrograd as rg
from benchmarks import results
from retrograd.experiments.own_process import begin_own_process


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("Give a text file: python -m benchmarks.char_lm TEXT [MINUTES]")
    begin_own_process()  # as the command line does
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    settings = rg.make_config({"data": {"train": [sys.argv[1]]}, "training": {"minutes": minutes}})
    with tempfile.TemporaryDirectory() as folder:
        done = rg.train(settings, out=Path(folder) / "run")
        spent = [e for e in done.run.events() if e["event"] == "finished"][-1]
        used = done.run.config()
        results.write(
            "char_lm",
            text=Path(sys.argv[1]).name,
            minutes=minutes,
            model=used.model.model_dump(),
            training=used.training.model_dump(),
            steps=done.steps,
            figures=done.report.figures,
            shares={name: seconds / (60 * minutes) for name, seconds in spent["seconds"].items()},
        )


if __name__ == "__main__":
    main()
