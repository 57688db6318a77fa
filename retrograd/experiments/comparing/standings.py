"""From the outcomes of the runs to one comparison: a line for each model, what tells them apart, their courses.

    test figure         mean and interval over the seeds that finished; a perplexity's are e ^ (those of the nats)
    horizon, context    of the middle seed, the lower of two, and the range over the seeds
    speed               the median over the seeds of each run's median

What counts has one run, which stands for every seed of those that it is held against.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median

from retrograd.experiments.comparing import contestants, statistics
from retrograd.experiments.comparing.courses import course
from retrograd.experiments.comparing.outcomes import FIGURES, Outcomes
from retrograd.experiments.comparing.plan import Plan
from retrograd.measures import Estimate
from retrograd.reports.comparison import Comparison, Figure, Middle, Outcome, Pair, Standing

FEW = 4  # pairs that are named


def compared(plan: Plan, folder: Path, outcomes: Outcomes, *, workers: int) -> Comparison:
    """What is known by now."""
    found = [outcomes.of(entry) for entry in plan.entries]
    figure, t = outcomes.figure or FIGURES[-1], plan.shared.training
    standings = tuple(_standing(name, [o for o in found if o.model == name], figure) for name in plan.models)
    pairs = tuple(_pairs(standings))
    budget = next(f"{x:g} {name}" for name in ("steps", "minutes", "epochs") if (x := getattr(t, name)) is not None)
    over = "minutes" if t.minutes is not None else "steps"
    key = "accuracy" if figure.rises else "validation"
    courses = {name: course(plan, folder, name, key=key, over=over) for name in plan.models}
    shared = plan.values["config"]
    return Comparison(
        title=_title(plan),
        folder=str(folder),
        task=plan.shared.task.name,
        budget=budget,
        seeds=plan.seeds,
        workers=workers,
        figure=figure,
        standings=standings,
        pairs=pairs,
        said=tuple(_said(standings, pairs, figure, len(plan.seeds))),
        courses={name: one for name, one in courses.items() if len(one.at) > 1},
        course=_validated(figure),
        over=over,
        config=shared,
        data=plan.data,
    )


def _title(plan: Plan) -> str:
    texts = plan.shared.data.train
    return f"{', '.join(plan.models)} on {Path(texts[0]).name if texts else plan.shared.task.name}"


def _standing(name: str, outcomes: Sequence[Outcome], figure: Figure) -> Standing:
    known = [o for o in outcomes if o.status == "finished"]
    values = list(_figures(known).values())
    speeds = [o.speed for o in outcomes if o.speed is not None]
    steps = [o.steps for o in known if o.steps is not None]
    contexts = [o.context for o in known if o.context]
    one = contestants.of(name)
    return Standing(
        model=name,
        outcomes=tuple(outcomes),
        counted=one.counted,
        size=next((o.size for o in outcomes if o.size is not None), None),
        unit=one.unit,
        test=_over_seeds(values, figure) if values else None,
        start=_middle([_steps(o.start) for o in outcomes if o.start]),
        end=_middle([_steps(o.end) for o in known if o.end]),
        context=_middle([(float(c["steps"]), bool(c["more"])) for c in contexts if c["steps"] is not None]),
        why=next((str(c["why"]) for c in contexts if c["why"]), ""),
        speed=median(speeds) if speeds else None,
        steps=round(median(steps)) if steps else None,
    )


def _figures(outcomes: Sequence[Outcome]) -> dict[int, float]:
    """By seed, of the runs that finished, in the scale of differences."""
    return {o.seed: o.figure for o in outcomes if o.status == "finished" and o.figure is not None}


def _over_seeds(values: Sequence[float], figure: Figure) -> Estimate:
    found = statistics.interval(values)
    low, high = (None if x is None else figure.of(x) for x in (found.low, found.high))
    return Estimate(figure.of(found.value), low, high)


def _steps(shown: str) -> tuple[float, bool]:
    """Of a horizon as it is written: "23", ">192", "NaN"."""
    return float(shown.removeprefix(">")), shown.startswith(">")


def _middle(values: Sequence[tuple[float, bool]]) -> Middle | None:
    """Of numbers of steps, and whether each is only known to be more than that; what is no number is left out."""
    known = sorted(value for value in values if not math.isnan(value[0]))
    if not known:
        return None
    value, beyond = known[(len(known) - 1) // 2]
    return Middle(value, known[0][0], known[-1][0], beyond=beyond, highest_beyond=known[-1][1])


def _pairs(standings: Sequence[Standing]) -> Iterator[Pair]:
    for a, b in combinations(standings, 2):
        first, second = _by_seed(a, b), _by_seed(b, a)
        found = statistics.difference(first, second)
        if found is None:
            continue
        estimate, seeds = found
        if a.counted and b.counted:  # neither depends on a seed, so they differ or they do not
            x = estimate.value
            yield Pair(a.model, b.model, Estimate(x, x, x), 1, x != 0)
        else:
            yield Pair(a.model, b.model, estimate, seeds, statistics.apart(estimate))


def _by_seed(one: Standing, other: Standing) -> dict[int, float]:
    """Its figures by seed; what counts has the same for every seed of the other."""
    own = _figures(one.outcomes)
    if one.counted and not other.counted and own:
        return dict.fromkeys(_figures(other.outcomes), *own.values())
    return own


def _said(standings: Sequence[Standing], pairs: Sequence[Pair], figure: Figure, seeds: int) -> Iterator[str]:
    """What is not distinguishable, in sentences."""
    known = [s for s in standings if s.test and math.isfinite(s.test.value)]
    trained = [s for s in known if not s.counted]
    if len(known) > 1:
        if trained and max(s.finished for s in trained) < 2:
            yield (
                "With one seed nothing can be told apart."
                if seeds == 1
                else ("No model has finished with more than one seed yet, so nothing can be told apart.")
            )
        else:
            yield from _ranked(known, pairs, figure)
        yield from _unlike(trained)
    for s in standings:
        if s.test and not math.isfinite(s.test.value):
            nats = fmean(_figures(s.outcomes).values())
            yield f"The {figure.name} of {s.model} is beyond every number: {nats:,.0f} nats on average."
        if lost := [o for o in s.outcomes if o.status == "failed"]:
            ended = f"{len(lost)} of {len(s.outcomes)} runs of {s.model} failed"
            yield f"{ended}; its figures are those of the others." if s.finished else f"{ended}; it has no figure."
    for s in standings:
        if s.why:
            yield f"The context of {s.model} was not measured: {s.why.rstrip('.')}."


def _ranked(known: Sequence[Standing], pairs: Sequence[Pair], figure: Figure) -> Iterator[str]:
    order = sorted(known, key=lambda s: s.test.value if s.test else 0.0, reverse=figure.rises)
    best = order[0].model
    apart = [{p.first, p.second} for p in pairs if p.apart]
    alike = [(a.model, b.model) for a, b in combinations(order, 2) if {a.model, b.model} not in apart]
    yield f"{best} has the {'highest' if figure.rises else 'lowest'} {figure.name}, {_others(order, pairs, figure)}."
    rest = [_listed(pair) for pair in alike if best not in pair]
    if rest:
        more = f"; and {len(rest) - FEW} other pairs" if len(rest) > FEW else ""
        yield f"Not told apart from each other: {'; '.join(rest[:FEW])}{more}."
    if any(p.seeds == 2 and not p.apart for p in pairs):
        yield "Two seeds tell little: their interval is 12.7 standard errors wide on either side, that of three 4.3."
    if len(pairs) > 1:
        yield (
            f"Each of the {len(pairs)} pairs is judged at 95 % by itself, over the seeds that both finished: of twenty "
            "that do not differ, one is told apart by chance."
        )


def _others(order: Sequence[Standing], pairs: Sequence[Pair], figure: Figure) -> str:
    """How they stand to the first: seed by seed, which need not be how their means do."""
    best = order[0].model
    met = {p.second if p.first == best else p.first: p for p in pairs if best in (p.first, p.second)}
    better = {name: _better(p, figure) for name, p in met.items() if p.apart}
    rivals = [s.model for s in order[1:] if s.model not in better]
    ahead = [s.model for s in order[1:] if better.get(s.model) == s.model]
    is_are = "is" if len(ahead) == 1 else "are"
    told = [f"but {_listed(ahead)} {is_are} better on the seeds that both finished"] if ahead else []
    told += [f"and {_listed(rivals)} cannot be told apart from it"] if rivals else []
    return ", ".join(told) or "told apart from all others"


def _better(p: Pair, figure: Figure) -> str:
    """Of two that are told apart the better one."""
    return p.first if (p.difference.value > 0) == figure.rises else p.second


def _unlike(trained: Sequence[Standing]) -> Iterator[str]:
    """That means are of different seeds, where they are."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for s in trained:
        by_seeds.setdefault(tuple(sorted(_figures(s.outcomes))), []).append(s.model)
    if len(by_seeds) > 1:
        told = "; ".join(f"{_listed(names)} of {_listed([*map(str, seeds)])}" for seeds, names in by_seeds.items())
        yield f"The means are of different seeds and cannot be compared directly: {told}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _validated(figure: Figure) -> str:
    return "validation accuracy" if figure.rises else f"validation {'nats' if figure.exponential else figure.name}"
