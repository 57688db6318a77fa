"""Which checkpoints of a run count: checkpoints/latest.json.

{"last": "step-000420", "previous": "step-000400", "milestones": ["step-000400", "step-000200"],
 "best": "step-000200", "nats": 1.61, "returns": []}
"""

import math
import re
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from retrograd import runs
from retrograd.errors import RunError

NAME = re.compile(r"step-\d{6,}(\.\d+)?")
NAME_ONE = 'Write {"last": "NAME"} into it, with the name of a folder beside it.'


@dataclass(frozen=True)
class Pointer:
    """Which checkpoints count, by name.

    A milestone is one that depends on nothing but the steps taken, unlike one that the clock or a signal asked for:
    training goes back to milestones only, so that it goes the same way whenever it was stopped in between.
    """

    last: str | None = None  # where training goes on from
    previous: str | None = None
    milestones: tuple[str, ...] = ()  # the newest two, the newer one first
    best: str | None = None
    nats: float = math.inf  # of the best, when it was validated
    returns: tuple[str, ...] = ()  # those that training went back to, in order

    @property
    def newest_first(self) -> list[str]:
        """The checkpoints that are kept, each once."""
        return _newest_first(self.last, self.previous, *self.milestones, self.best)

    @property
    def grounds(self) -> list[str]:
        """Those that training may go back to."""
        return _newest_first(*self.milestones, self.best)

    def without(self, names: Collection[str]) -> "Pointer":
        """The same with those gone: the newest that is left is the last."""
        left = [name for name in self.newest_first if name not in names]
        last = self.last if self.last in left else next(iter(left), None)
        previous = self.previous if self.previous in left and self.previous != last else None
        milestones = tuple(name for name in self.milestones if name in left)
        kept = replace(self, last=last, previous=previous, milestones=milestones)
        return kept if self.best in left else replace(kept, best=None, nats=math.inf)

    def back_to(self, name: str, returns: tuple[str, ...]) -> "Pointer":
        """Where training stands after it has gone back to a checkpoint."""
        older = tuple(milestone for milestone in self.milestones if step_of(milestone) <= step_of(name))
        return replace(self, last=name, previous=None, milestones=older, returns=returns)


def step_of(name: str) -> int:
    """The step that a checkpoint's name tells: 200 of "step-000200", or of "step-000200.2"."""
    return int(name.removeprefix("step-").partition(".")[0])


def _newest_first(*names: str | None) -> list[str]:
    """Each once; of the same step the one that was written later, whose number is larger."""
    return sorted({name for name in names if name}, key=lambda name: (step_of(name), len(name), name), reverse=True)


def pointed(folder: Path) -> Pointer:
    """What the pointer file says; nothing where it is not there yet. Raises RunError where it cannot be read."""
    try:
        values = runs.from_json((folder / "latest.json").read_text(encoding="utf-8"))
        last, previous, best = (str(values[key]) if values.get(key) else None for key in ("last", "previous", "best"))
        milestones, returns = (tuple(map(str, values.get(key, ()))) for key in ("milestones", "returns"))
        pointer = Pointer(last, previous, milestones, best, float(values.get("nats", math.inf)), returns)
    except FileNotFoundError:
        return Pointer()
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise RunError(
            f"{folder / 'latest.json'} cannot be read ({error}); it was cut or altered. {NAME_ONE}"
        ) from None
    for name in (last, previous, best, *milestones, *returns):
        if name and not NAME.fullmatch(name):
            raise RunError(f"{folder / 'latest.json'} names {name!r}, which is no checkpoint of this run. {NAME_ONE}")
    return pointer


def point(folder: Path, pointer: Pointer) -> None:
    """Have the pointer file say so, and drop the checkpoints that it no longer names."""
    runs.write(folder / "latest.json", runs.to_json(asdict(pointer)))
    for old in written(folder):
        if old.name not in pointer.newest_first:
            shutil.rmtree(old)


def written(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by name; what else lies there is not ours."""
    return sorted(path for path in folder.glob("step-*") if NAME.fullmatch(path.name))
