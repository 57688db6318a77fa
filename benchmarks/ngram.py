"""Counting: how long it takes, how much memory, what each order is worth, and whether kenlm finds the same scores.

python -m benchmarks.ngram moby_dick.txt        words, 90/5/5; kenlm's part where it is installed: pip install kenlm

count       a million tokens at order 5, the text's own as often as it takes, shuffled by lines; seconds and bytes
by order    perplexity on the test text, n-grams, the share of the test text's that were never seen
kenlm       the largest difference of its scores, from the ARPA file, to ours: nats per token of the test text
"""

import math
import random
import resource
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import retrograd as rg
from benchmarks import results
from retrograd.experiments.build import load_with_tokenizer
from retrograd.experiments.counting import by_order, fitted, to_arpa
from retrograd.models import NGram
from retrograd.tasks.language import Language

ORDER, MILLION = 5, 1_000_000


def main(text: str) -> None:
    settings = rg.make_config({"data": {"train": [text], "level": "word"}, "model": {"kind": "ngram", "order": ORDER}})
    task = Language(settings)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = rg.train(settings, out=Path(folder) / "run").run
        whole = time.perf_counter() - begin
        scores = _kenlm(run.path, task) if find_spec("kenlm") else None
    results.write(
        "ngram",
        text=Path(text).name,
        tokens={"training": len(task.train), "test": len(task.test)},
        order=ORDER,
        run={"seconds": whole},
        count=_counted(task),
        by_order=asdict(by_order(task, [fitted(task, n) for n in range(1, ORDER + 1)])),
        kenlm=scores,
    )


def _counted(task: Language) -> dict[str, float]:
    """A million tokens: lines of the text in random order, as often as it takes."""
    ids, end = task.train.ids.numpy(), task.tokenizer.first
    lines = np.split(ids, np.flatnonzero(ids == end) + 1)
    shuffled, drawn = [], random.Random(0)
    while sum(map(len, shuffled)) < MILLION:
        shuffled += drawn.sample(lines, len(lines))
    million = np.concatenate(shuffled)[:MILLION]
    begin = time.perf_counter()
    NGram.fit(million, np.zeros(MILLION, dtype=bool), order=ORDER, vocabulary=task.vocabulary)
    return {
        "seconds": time.perf_counter() - begin,
        "peak of the process in bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
    }


def _kenlm(run: Path, task: Language) -> dict[str, float]:
    import kenlm

    model, tokenizer = load_with_tokenizer(run)
    assert isinstance(model, NGram)
    read, names = kenlm.Model(str(to_arpa(run, run / "model.arpa"))), tokenizer.names
    state, after = kenlm.State(), kenlm.State()
    read.BeginSentenceWrite(state)
    theirs = []
    for token in task.test.ids.tolist():
        theirs.append(read.BaseScore(state, names[token], after) * math.log(10))
        state, after = after, state
    ours = model.log_probabilities(task.test.ids.numpy(), np.zeros(len(theirs), dtype=bool))
    return {"tokens": float(len(theirs)), "largest difference": float(np.abs(ours - np.array(theirs)).max())}


if __name__ == "__main__":
    main(sys.argv[1])
