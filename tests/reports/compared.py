"""Comparisons of every kind to draw: whole, begun, of one seed, hostile, broken."""

import dataclasses
import math

from retrograd.measures import Estimate
from retrograd.reports.comparison import Comparison, Course, Figure, Middle, Outcome, Pair, Standing

PERPLEXITY = Figure("perplexity", "test nats", rises=False, exponential=True)
ACCURACY = Figure("accuracy", "accuracy", rises=True)


def outcome(model, seed, nats=2.0, **changes):
    known = {"steps": 12, "more": False, "why": ""}
    made = Outcome(
        name=f"{model.replace(':', '-')}-{seed}",
        model=model,
        seed=seed,
        status="finished",
        figure=nats,
        size=12_345,
        start="9",
        end="23",
        context=known,
        speed=6543.2,
        steps=500,
        seconds=61.25,
    )
    return dataclasses.replace(made, **changes)


def standing(model, nats, **changes):
    outcomes = tuple(outcome(model, seed, x) for seed, x in enumerate(nats, 1))
    mean = sum(nats) / len(nats)
    made = Standing(
        model=model,
        outcomes=outcomes,
        counted=False,
        size=12_345,
        unit="parameters",
        test=Estimate(math.exp(mean), math.exp(mean - 0.1), math.exp(mean + 0.1)),
        start=Middle(9, 8, 11),
        end=Middle(23, 20, 192, highest_beyond=True),
        context=Middle(12, 12, 12),
        why="",
        speed=6543.2,
        steps=500,
    )
    return dataclasses.replace(made, **changes)


def whole():
    """Three models with two seeds, one of which counts and another of which lost a seed."""
    counted = {"counted": True, "unit": "n-grams", "size": 670_524, "start": None, "end": None, "speed": None}
    ngram = standing("ngram", [2.5], test=Estimate(12.18, None, None), **counted)
    lost = outcome("irnn", 2, None, status="failed", reason="The loss stopped being finite.", not_finite=31)
    irnn = standing("irnn", [2.2, 2.3])
    irnn = dataclasses.replace(irnn, outcomes=(irnn.outcomes[0], lost))
    return Comparison(
        title="ngram, irnn, lstm on notes.txt",
        folder="runs/20261122-compare-notes",
        task="language",
        budget="500 steps",
        seeds=(1, 2),
        workers=2,
        figure=PERPLEXITY,
        standings=(ngram, irnn, standing("lstm", [1.9, 2.0])),
        pairs=(
            Pair("ngram", "irnn", Estimate(0.3, None, None), 1, False),
            Pair("ngram", "lstm", Estimate(0.55, 0.21, 0.89), 2, True),
        ),
        said=("lstm has the lowest perplexity, and irnn cannot be told apart from it.",),
        courses={
            "irnn": Course((10.0, 20.0, 30.0), (3.0, 2.5, 2.2), (2.9, 2.4, 2.1), (3.1, 2.6, 2.3)),
            "lstm": Course((10.0, 20.0, 30.0), (3.2, 2.4, 1.95), (3.2, 2.4, 1.95), (3.2, 2.4, 1.95)),
        },
        course="validation nats",
        config={"training": {"steps": 500}, "data": {"train": ["/home/jane/notes.txt"]}},
        data="9f86",
    )


def begun():
    """Nothing has finished."""
    waiting = tuple(Outcome(f"lstm-{seed}", "lstm", seed, "not begun") for seed in (1, 2))
    bare = standing(
        "lstm", [1.0], outcomes=waiting, size=None, test=None, start=None, end=None, context=None, speed=None
    )
    return dataclasses.replace(whole(), standings=(bare,), pairs=(), said=(), courses={})


def answers():
    """Of a task with answers, over minutes."""
    right = standing("lstm", [0.98, 1.0], test=Estimate(0.99, 0.863, 1.117))
    return dataclasses.replace(
        whole(), figure=ACCURACY, standings=(right,), over="minutes", course="validation accuracy"
    )


def broken():
    """What is not finite, and a horizon of nothing."""
    wide = standing("rnn", [700.0, 1.0], test=Estimate(math.inf, math.inf, math.inf), end=Middle(0, 0, 0))
    return dataclasses.replace(whole(), standings=(wide, standing("lstm", [1.0, 1.1])))


def hostile():
    """A text's name that would be more than a name."""
    shown = "<script>alert(1)</script>\x00\u202e.txt"
    return dataclasses.replace(whole(), title=shown, said=(shown,), config={"data": {"train": [shown]}})


def many():
    """More models than there are colours."""
    names = [f"lstm:orthogonal+forget_bias={i}" for i in range(17)]
    course = whole().courses["irnn"]
    return dataclasses.replace(
        whole(),
        standings=tuple(standing(name, [2.0 + i / 10, 2.1]) for i, name in enumerate(names)),
        courses=dict.fromkeys(names, course),
    )


COMPARISONS = {"whole": whole, "begun": begun, "answers": answers, "broken": broken, "hostile": hostile, "many": many}
