"""What a report costs: the page of the default character model, as a command of its own and while a training runs.

at most 5 s and 3 MB
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import retrograd as rg
from benchmarks import results
from retrograd.experiments.demo import prose
from retrograd.experiments.inspection import read_report
from retrograd.reports import html


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "english.txt").write_text("\n".join(prose()), encoding="utf-8")
        settings = {"data": {"train": [str(folder / "english.txt")]}, "training": {"steps": 200}}
        run = rg.train(rg.make_config(settings), out=folder / "run").run
        report, page = read_report(run.path), folder / "page.html"
        command = [sys.executable, "-m", "retrograd", "report", str(run.path), "--html", str(page), "--force"]
        seconds = results.interleaved(
            {
                "as a command": lambda: subprocess.run(command, check=True, capture_output=True),
                "while training": lambda: html.page(report, run=str(run.path)),
            },
            rounds=9,
        )
        results.write(
            "report",
            seconds={name: results.summary(times) for name, times in seconds.items()},
            bytes={file: (run.path / file).stat().st_size for file in ("report.html", "report.json")},
        )


if __name__ == "__main__":
    main()
