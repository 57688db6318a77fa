"""Commands of the documents at a small size: few steps of a small model on few examples."""

import re
import shlex
from typing import Any

from typer.testing import CliRunner

from retrograd.cli.app import app

SMALL = {  # at so many examples, or of such a length, a task is quickly made
    "sentiment": ["task.examples=200"],
    "tagging": ["task.examples=160"],
    "translation": ["task.examples=200"],
    "captioning": ["task.examples=60"],
    "agreement": ["task.examples=300"],
    "coloured-shapes": ["task.examples=60"],
}


def small(arguments: list[str]) -> list[str]:
    """The same, quickly done."""
    text = " ".join(arguments)
    if arguments[0] not in ("train", "compare") or "naive-bayes" in arguments or "ngram" in arguments[:4]:
        return arguments
    text = re.sub(r"--(steps|minutes) \S+", "", text)
    text = re.sub(r"--hidden \S+", "", text)
    named = re.search(r"--(task |config \S*/)([\w-]+)", text)
    if named is None:
        changes = ["training.window=16"]
    else:
        changes = SMALL.get(named[2], ["task.length=20"] if "config" in named[1] else [])
    if arguments[0] == "compare":
        text = re.sub(r"--models \S+ (.*)--seeds \S+", r"--models ngram,rnn \1--seeds 1", text)
    given = [part for change in changes for part in ("--set", change)]
    steps = "12" if "--clip" in text else "3"  # every tenth is written down
    return [*shlex.split(text), *given, "--hidden", "8", "--steps", steps]


def here(arguments: list[str]) -> Any:
    """The command in this process."""
    return CliRunner().invoke(app, arguments)
