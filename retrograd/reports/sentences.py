"""What was measured, in sentences with their numbers, intervals and counts; for captions and terminals.

told       by measure, the sentences of one look at the model; a layer has one, and of very many layers the first do
caption    those of one measure, and when it was taken
"""

import math
from collections.abc import Collection, Iterator, Sequence

from retrograd.measures import (
    Context,
    Depth,
    Exponents,
    Forgetting,
    LayerAttribution,
    LayerForgetting,
    LayerJacobians,
    LayerParts,
    LayerWindow,
    WindowAdequacy,
)
from retrograd.reports.report import Measurement, Report
from retrograd.reports.words import LN10, at, count, losses, number, one_line, percent, power, rounded

MOST = 6  # layers that are told and drawn
LITTLE = 0.005  # a share that would be told as 0 %

HEADINGS = {
    "attribution": "Why the gradient shrinks or grows",
    "parts": "What the gradient at a layer is made of",
    "window": "The gradient of the recurrent weights, by lag and by window",
    "jacobians": "How much one step and many in a row stretch a gradient",
    "lyapunov": "Lyapunov exponents",
    "forgetting": "How fast the start is forgotten",
    "depth": "Depth, in nonlinear transformations",
    "context": "How much of the past the loss uses",
}


def told(m: Measurement) -> dict[str, list[str]]:
    """Of what the measurement holds."""
    found: dict[str, list[str]] = {}
    if m.attribution:
        found["attribution"] = _first([attribution(layer) for layer in m.attribution.layers])
    if m.window:
        found["window"] = [*_first([window(layer, m.window) for layer in m.window.layers]), windows(m.window)]
    if m.jacobians:
        found["jacobians"] = _first([jacobians(layer) for layer in m.jacobians.layers])
    if m.lyapunov:
        found["lyapunov"] = _first([lyapunov(one) for one in (*m.lyapunov.layers, *m.lyapunov.stacks)])
    if m.forgetting:
        found["forgetting"] = [*_first([forgetting(layer) for layer in m.forgetting.layers]), *_unknown(m.forgetting)]
    if m.depth:
        found["depth"] = list(depth(m.depth))
    if m.parts:
        found["parts"] = _first([part(layer) for layer in m.parts.layers])
    if m.context:
        found["context"] = [context(m.context)]
    return {name: sentences for name, sentences in found.items() if sentences}


def caption(report: Report, looks: Collection[str], measure: str) -> str:
    """As "At end, step 200, rnn.l0: ...", of the last of these looks; nothing where there is none."""
    if not looks:
        return ""
    name = list(looks)[-1]
    m = report.measurements[name]
    return f"{at(report, name, m.step)} {' '.join(told(m)[measure])}"


def _first(sentences: list[str]) -> list[str]:
    beyond = len(sentences) - MOST
    more = [f"{count(beyond, 'more layer')} {'is' if beyond == 1 else 'are'} in the table."] if beyond > 0 else []
    return sentences[:MOST] + more


def estimated(value: float, low: float | None, high: float | None) -> str:
    """A number with its interval: "0.5 (0.42 to 0.61)"."""
    if low is None or high is None or not math.isfinite(value):
        return rounded(value)
    return f"{rounded(value)} ({rounded(low)} to {rounded(high)})"


def attribution(it: LayerAttribution) -> str:
    layer = one_line(it.layer)
    if it.total is None:
        return f"{layer}: no step of its gradient could be measured{_left_out(it)}."
    whole = f"{estimated(it.total.value, it.total.low, it.total.high)} nats per step, a factor of {rounded(it.factor)}"
    parts = " and ".join(f"{estimated(x.value, x.low, x.high)} by the {name}" for name, x in it.parts.items())
    paths = ", ".join(f"{name} {percent(x.value)}" for name, x in it.shares.items() if not abs(x.value) < LITTLE)
    counted = f"{count(it.steps, 'step')} of {count(it.sequences, 'sequence')}{_left_out(it)}"
    return f"{layer}: {whole}{f', {parts}' if parts else ''}{f'; by path {paths}' if paths else ''}; over {counted}."


def _left_out(it: LayerAttribution) -> str:
    zero = f"{count(it.zero, 'step')} left out where it became zero" if it.zero else ""
    lost = f"{count(it.not_finite, 'step')} left out where it was not finite" if it.not_finite else ""
    said = ", ".join(filter(None, (zero, lost)))
    return f" ({said})" if said else ""


def window(layer: LayerWindow, it: WindowAdequacy) -> str:
    logs = [x / LN10 for x in layer.log_norms]
    known = [l for l, x in enumerate(logs) if math.isfinite(x)] or [0]
    sizes = ", ".join(f"{power(logs[l])} at lag {l:,}" for l in _three(known) if logs)
    cosines = ", ".join(
        f"{_cosine(layer.chunks.cosine[i])} at {it.windows[i]:,}" for i in _three(range(len(it.windows)))
    )
    return f"{one_line(layer.layer)}: the gradient of W_hh is {sizes}; the cosine of a window in chunks is {cosines}."


def windows(it: WindowAdequacy) -> str:
    """Of all layers: the window to use, and over what it was measured."""
    most = f"{it.smallest:,}" if it.smallest is not None else "none that was tried"
    over = f"{losses(len(it.anchors))} of {count(it.sequences, 'sequence')}"
    return f"The smallest window with a cosine of at least {it.wanted:g} in every layer is {most}; over {over}."


def _three(items: Sequence[int]) -> list[int]:
    """The first, the middle and the last one."""
    return sorted({items[0], items[len(items) // 2], items[-1]}) if items else []


def _cosine(x: float) -> str:
    """Four digits, as 0.9996 is not 1."""
    return number(float(f"{x:.4g}"))


def jacobians(it: LayerJacobians) -> str:
    low, middle, high = map(rounded, it.largest)
    told = (
        f"{one_line(it.layer)}: the largest singular value of one step is {middle} ({low} to {high} for 80\u00a0% of "
        f"{count(it.steps, 'step')}, {count(it.sequences, 'sequence')})"
    )
    if not it.lags:
        return f"{told}."
    bound = f"the bound from the steps is {power(it.log_chain[-1][1] / LN10)}"
    if it.log_bound is not None:
        bound += f", that from W_hh {power(it.log_bound[-1] / LN10)}"
    product = f"that of {count(it.lags[-1], 'step')} in a row {power(it.log_largest[-1][1] / LN10)}"
    return f"{told}, {product}; {bound}."


def lyapunov(it: Exponents) -> str:
    low, high = (it.low[0], it.high[0]) if it.low and it.high else (None, None)
    number_of, above = len(it.exponents), sum(x > 0 for x in it.exponents)
    last = f", the last of {number_of} {rounded(it.exponents[-1])}" if number_of > 1 else ""
    broken = sum(map(math.isnan, it.exponents))
    lost = f" and {broken} not a number" if broken else ""
    which = f"all {number_of} exponents" if it.complete else f"the first {number_of} of {it.size:,} exponents"
    return (
        f"{one_line(of(it))}: the largest exponent is {estimated(it.exponents[0], low, high)} nats per step{last}; "
        f"{above or 'none'} of {which} {'is' if above < 2 else 'are'} above 0{lost}; "
        f"over {count(it.steps, 'step')} of {count(it.sequences, 'sequence')}."
    )


def of(it: Exponents) -> str:
    """Whose the exponents are: the layer, or "rnn, all layers"."""
    return f"{it.name}, all layers" if len(it.layers) > 1 else it.name


def forgetting(it: LayerForgetting) -> str:
    rate = estimated(it.rate, it.rate_low, it.rate_high)
    half = estimated(it.half_life, it.half_life_low, it.half_life_high)
    course = f"halves in {half} steps" if math.isfinite(it.half_life) else "does not shrink"
    course = "is not a number" if math.isnan(it.half_life) else course
    course = "is gone after one step" if it.rate == -math.inf else course
    gone = f", and is no more than rounding from step {it.rounding:,} on" if it.rounding is not None else ""
    exponent = estimated(it.exponent, it.exponent_low, it.exponent_high)
    return (
        f"{one_line(it.layer)}: the distance of two states {course}, {rate} nats per step{gone}; the leading "
        f"exponent, of two that are kept close, is {exponent}; {count(it.sequences, 'sequence')} of "
        f"{count(it.steps, 'step')}."
    )


def _unknown(it: Forgetting) -> list[str]:
    named = ", ".join(map(one_line, it.not_measured))
    return [f"Not measured, because the equation is not known: {named}."] if named else []


def depth(it: Depth) -> Iterator[str]:
    """Of all layers together, and then what of it is not known."""
    least = "at least " if it.at_least else ""
    skip = "not known" if it.skip is None else least + rounded(it.skip)
    if it.skip == math.inf:
        skip = "infinite: some way through time has none"
    yield (
        f"Recurrent depth {least}{rounded(it.recurrent)} per step, feedforward depth {least}{rounded(it.feedforward)}, "
        f"skip coefficient {skip}."
    )
    if not it.joined:
        yield "What reads what could not be told, so every layer is taken alone."
    unknown = [f"{one_line(layer.layer)} ({one_line(layer.cell)})" for layer in it.layers if layer.at_least]
    if unknown:
        yield f"Counted as one transformation a step, because the equation is not known: {', '.join(unknown)}."


def context(it: Context) -> str:
    one, last = (estimated(it.excess[i], it.low[i], it.high[i]) for i in (0, -1))
    used = (
        f"all but {percent(it.share)} of that is gone from {count(it.used, 'step')} on"
        if it.used
        else f"it is not gone at the longest that was tried, {it.lengths[-1]} steps, where it is {last}"
    )
    counted = f"{count(it.resets, 'reset')} of {count(it.sequences, 'sequence')}"
    return f"With {count(it.lengths[0], 'step')} of the past left the loss is {one} higher; {used}; over {counted}."


def part(it: LayerParts) -> str:
    """The norms at the first, the middle and the last lag, and how much of them the layer carried itself."""
    lags = sorted({0, len(it.whole) // 2, len(it.whole) - 1})

    def listed(logs: Sequence[float]) -> str:
        return ", ".join(power(logs[l] / LN10) for l in lags)

    alone = all(x == y or abs(x - y) < LITTLE for x, y in zip(it.whole, it.carried, strict=True))
    told = ["all of it carried by the layer itself" if alone else f"carried by the layer itself {listed(it.carried)}"]
    if it.memory:
        told += [f"|dL/dh| {listed(it.output)}", f"|dL/dc| {listed(it.memory)}"]
    return (
        f"{one_line(it.layer)}: at lags {', '.join(f'{l:,}' for l in lags)} |dL/ds| is {listed(it.whole)}; "
        f"{'; '.join(told)}; median of {count(it.sequences, 'sequence')}."
    )
