"""What each exploration is made of: a function that computes a frozen result, and what is said and drawn of it.

result = it.explore(...)          numbers alone, float64
it.say(result)                    a sentence or two with these numbers
it.table(result), it.rows(result)   what fits a terminal; every number
it.draw(result, LIGHT)            a picture
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from retrograd import runs
from retrograd.reports.plots.curves import Row
from retrograd.reports.plots.frame import Colours
from retrograd.reports.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Colours", "Exploration", "Row", "Table", "as_json"]

R = TypeVar("R")


@dataclass(frozen=True)
class Exploration(Generic[R]):
    title: str
    about: str  # what it shows, and where that comes from
    explore: Callable[..., R]  # a frozen dataclass
    say: Callable[[R], str]
    table: Callable[[R], Table]
    rows: Callable[[R], Iterator[Row]]  # the names of the columns, then every number
    draw: "Callable[[R, Colours], Figure]"


def as_json(it: Exploration[Any], result: Any) -> str:
    """The result with its title and its sentence; NaN and infinity by name."""
    return runs.to_json({"title": it.title, "said": it.say(result), **asdict(result)}, indent=1)
