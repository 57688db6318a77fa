"""How long `retrograd --help` takes, as a whole process: it must not load torch.   median under 0.4 s"""

import subprocess
import sys

from benchmarks import results


def main() -> None:
    commands = {
        "retrograd --help": [sys.executable, "-m", "retrograd", "--help"],
        "retrograd train --help": [sys.executable, "-m", "retrograd", "train", "--help"],
    }
    runs = {name: lambda c=c: subprocess.run(c, check=True, capture_output=True) for name, c in commands.items()}
    results.interleaved(runs, rounds=2)
    seconds = results.interleaved(runs, rounds=15)
    results.write("startup", seconds={name: results.summary(times) for name, times in seconds.items()})


if __name__ == "__main__":
    main()
