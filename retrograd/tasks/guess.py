"""What guessing costs: the loss of the best answer that looks at nothing, which is the entropy of the answers.

H = -sum_k p[k] ln p[k]          p[k]: share of the answers that are k
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable


def entropy(answers: Iterable[Hashable]) -> float:
    """Nats.

    >>> round(entropy("abab"), 4)
    0.6931
    """
    counts = Counter(answers)
    total = counts.total()
    return -sum(n / total * math.log(n / total) for n in counts.values())
