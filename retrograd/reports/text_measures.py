"""What the further measures found, as lines for a terminal.

Why the gradient shrinks or grows
  rnn.l0: -0.29 (-0.31 to -0.28) nats per step, a factor of 0.74, ...
"""

import textwrap
from collections.abc import Iterator

from retrograd.reports.report import Measurement
from retrograd.reports.sentences import told

HEADINGS = {
    "attribution": "Why the gradient shrinks or grows",
    "parts": "The gradient at the output and at the memory",
    "window": "The gradient of the recurrent weights, by lag and by window",
    "jacobians": "How much one step and many in a row stretch a gradient",
    "lyapunov": "Lyapunov exponents",
    "forgetting": "How fast the start is forgotten",
    "depth": "Depth, in nonlinear transformations",
    "context": "How much of the past the loss uses",
}


def lines(measurement: Measurement, width: int) -> Iterator[str]:
    """A heading for each measure that was taken, and under it a sentence a layer, wrapped to `width` columns.

    >>> print(*lines(report.measurements["end"], 80), sep="\\n")
    """
    for measure, sentences in told(measurement).items():
        yield from textwrap.wrap(HEADINGS[measure], width)
        for sentence in sentences:
            yield from textwrap.wrap(
                sentence, width, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
            )
