"""Pictures of two coloured shapes, and what is to be said of them.

    "a red circle above a blue square"         the larger one is named first, so there is one way to say it

Which two shapes stand together is what is held out: the pairs of the test set are in no training picture, in neither
order and in no relation, though each shape, each colour and each relation is. So what was never seen must be said by
its parts (a compositional split, as in Lake and Baroni 2018). A picture is 3 x 32 x 32 bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import torch
from torch import Generator, Tensor

SIDE = 32  # pixels
HALF = SIDE / 2
COLOURS = {
    "red": (215, 45, 45),
    "green": (45, 170, 65),
    "blue": (55, 85, 230),
    "yellow": (230, 210, 50),
    "purple": (150, 60, 190),
    "white": (235, 235, 235),
}
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = {"above": (0, -1), "below": (0, 1), "left of": (-1, 0), "right of": (1, 0)}  # where the larger one is
LARGE, SMALL = (6.5, 7.5), (4.0, 5.0)  # half the width of each, from and to
ASIDE = 5.0  # pixels that one may stand aside of the other, across their relation
DARK, UNEVEN = 60, 20  # brightest ground; how far a colour may be off
ONE_IN = 10  # pairs of shapes are held out for each of validation and test

TOGETHER = 500  # pictures that are drawn at a time

Thing = tuple[str, str]  # colour and shape


@dataclass(frozen=True)
class Scene:
    large: Thing
    relation: str
    small: Thing

    @property
    def caption(self) -> str:
        return f"a {' '.join(self.large)} {self.relation} a {' '.join(self.small)}"


def scenes(generator: Generator) -> tuple[list[Scene], list[Scene], list[Scene]]:
    """All scenes of two different things: those to train on, to validate and to test."""
    things = list(product(COLOURS, SHAPES))
    pairs = list(combinations(things, 2))
    order = torch.randperm(len(pairs), generator=generator).tolist()
    part = len(pairs) // ONE_IN
    test, valid, train = order[:part], order[part : 2 * part], order[2 * part :]
    found = (_scenes([pairs[i] for i in split], generator) for split in (train, valid, test))
    of_train, of_valid, of_test = found
    return of_train, of_valid, of_test


def drawn(chosen: Sequence[Scene], count: int, generator: Generator) -> tuple[Tensor, list[str]]:
    """So many pictures (N, 3, 32, 32), each scene as often as the next, and their captions."""
    each = [chosen[i % len(chosen)] for i in range(count)]
    parts = [draw(each[i : i + TOGETHER], generator) for i in range(0, count, TOGETHER)]
    return torch.cat(parts), [scene.caption for scene in each]


def draw(each: Sequence[Scene], generator: Generator) -> Tensor:
    """A picture of every scene, (N, 3, 32, 32) bytes: sizes, places, colours and grounds are drawn."""
    unit = torch.rand(13, len(each), generator=generator)
    size = torch.stack([_between(*LARGE, unit[0]), _between(*SMALL, unit[1])], 1)  # (N, 2), as all that follows
    room = HALF - size
    along = (size + (room - size) * unit[2:4].t()) * torch.tensor([1, -1])  # each in its own half
    across = _between(-1, 1, unit[4]) * room[:, 0]
    aside = torch.stack([across, across + _between(-ASIDE, ASIDE, unit[5])], 1).clamp(-room, room)
    x, y = torch.tensor([RELATIONS[scene.relation] for scene in each]).t()[..., None]
    covered = _covered(each, (x * along + y.abs() * aside, y * along + x.abs() * aside), size)
    paint = torch.tensor([[COLOURS[colour] for colour, _ in (scene.large, scene.small)] for scene in each])
    paint = paint + _between(-UNEVEN, UNEVEN, unit[6:12].t()).view(-1, 2, 3)
    ground = _between(0, DARK, unit[12])[:, None, None, None]
    picture = torch.where(covered[:, :1], paint[:, 0, :, None, None], ground)
    picture = torch.where(covered[:, 1:], paint[:, 1, :, None, None], picture)
    return picture.clamp(0, 255).round().to(torch.uint8)


def _covered(each: Sequence[Scene], centre: tuple[Tensor, Tensor], size: Tensor) -> Tensor:
    """(N, 2, 32, 32): which pixels the larger and the smaller shape cover; centres are told from the middle."""
    pixels = torch.arange(SIDE) - HALF + 0.5
    u, v = ((pixels - at[..., None]) / size[..., None] for at in centre)
    u, v = u[..., None, :], v[..., :, None]
    near, far = torch.minimum(u.abs(), v.abs()), torch.maximum(u.abs(), v.abs())
    inside = {
        "circle": u**2 + v**2 <= 1,
        "square": far <= 0.85,
        "triangle": (u.abs() <= (v + 1) / 2) & (v <= 1),
        "cross": (near <= 0.33) & (far <= 1),
    }
    kinds = torch.tensor([[SHAPES.index(shape) for _, shape in (scene.large, scene.small)] for scene in each])
    covered = torch.zeros(len(each), 2, SIDE, SIDE, dtype=torch.bool)
    for i, shape in enumerate(SHAPES):
        covered |= inside[shape] & (kinds == i)[..., None, None]
    return covered


def _between(low: float, high: float, unit: Tensor) -> Tensor:
    return low + (high - low) * unit


def _scenes(pairs: Sequence[tuple[Thing, Thing]], generator: Generator) -> list[Scene]:
    """Either way round, in every relation, in an order that is drawn."""
    both = [*pairs, *((b, a) for a, b in pairs)]
    made = [Scene(a, relation, b) for relation in RELATIONS for a, b in both]
    return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]
