"""The long-range tasks by the configs of the papers: what 10,000 fresh sequences say of each.

python -m benchmarks.papers [CONFIG...]        adding: a squared error under 0.01 is learned, a guess costs 1/6
                                               temporal order: success is under 1 % errors
"""

import sys
import tempfile
from pathlib import Path

from benchmarks import results
from benchmarks.trained import named, row

ADDING = ("rnn-adding", "irnn-adding", "np-rnn-adding", "lstm-adding")
ORDER = ("msgd-c-temporal-order", "msgd-cr-temporal-order")


def main() -> None:
    asked = sys.argv[1:] or [*ADDING, *ORDER]
    with tempfile.TemporaryDirectory() as folder:
        table = {file: row(named(file), Path(folder) / file)[1] for file in asked}
    results.write("papers", lengths={file: named(file).task.length for file in asked}, runs=table)


if __name__ == "__main__":
    main()
