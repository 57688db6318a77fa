"""Two coloured shapes: what is drawn is what is said, and what is held out was never seen."""

from collections import Counter

import pytest
import torch

from retrograd.tasks import shapes
from retrograd.tasks.shapes import COLOURS, LARGE, RELATIONS, SHAPES, SIDE, Scene


@pytest.fixture(scope="module")
def splits():
    return shapes.scenes(torch.Generator().manual_seed(0))


def together(scenes):
    return {frozenset((scene.large, scene.small)) for scene in scenes}


def drawn(scene, seed=0):
    return shapes.draw([scene] * 40, torch.Generator().manual_seed(seed))


def covered(picture):
    """(32, 32): what is no ground, which is the same grey in every corner and along the edges."""
    grounds = picture.flatten(1).mode(1).values
    return (picture != grounds[:, None, None]).any(0)


def nearest(colour):
    return min(COLOURS, key=lambda name: (torch.tensor(COLOURS[name]) - colour).square().sum())


def seen(picture):
    """The things in a picture as (area, colour, row, column), told by their colours alone."""
    found = []
    pixels = picture.permute(1, 2, 0)[covered(picture)]
    for colour in {tuple(pixel.tolist()) for pixel in pixels}:
        mask = (picture == torch.tensor(colour)[:, None, None]).all(0)
        rows, columns = mask.nonzero().float().t()
        height = float(rows.max() - rows.min() + 1)
        found.append((height, nearest(torch.tensor(colour)), float(rows.mean()), float(columns.mean())))
    return sorted(found, reverse=True)


def test_pairs_that_are_held_out_are_in_no_training_scene_either_way_round(splits):
    train, valid, test = map(together, splits)
    assert not train & valid
    assert not train & test
    assert not valid & test
    assert len(train | valid | test) == 24 * 23 / 2


def test_every_pair_is_there_both_ways_in_every_relation(splits):
    for scenes in splits:
        assert len(set(scenes)) == len(scenes) == len(together(scenes)) * 2 * len(RELATIONS)


def test_every_part_of_what_is_held_out_is_seen_in_training(splits):
    train = splits[0]
    assert {scene.relation for scene in train} == set(RELATIONS)
    for role in ("large", "small"):
        things = Counter(getattr(scene, role) for scene in train)
        assert len(things) == len(COLOURS) * len(SHAPES)
        assert min(things.values()) >= 40


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_larger_thing_lies_where_the_caption_says(relation):
    for picture in drawn(Scene(("red", "square"), relation, ("blue", "square"))):
        (_, large, row, column), (_, small, other_row, other_column) = seen(picture)
        assert (large, small) == ("red", "blue")
        apart = {"above": other_row - row, "below": row - other_row}
        apart |= {"left of": other_column - column, "right of": column - other_column}
        assert apart[relation] > 7
        assert apart[relation] == max(apart.values())


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_told_apart(colour):
    other = "white" if colour != "white" else "red"
    for picture in drawn(Scene((colour, "circle"), "above", (other, "cross"))):
        assert [name for _, name, _, _ in seen(picture)] == [colour, other]


def test_shapes_differ_by_a_fifth_of_their_pixels_at_least():
    """At the size of the smaller thing, each in the middle of the picture."""
    masks = {}
    for shape in SHAPES:
        each = [Scene(("red", shape), "above", ("blue", shape))]
        masks[shape] = shapes._covered(each, (torch.zeros(1, 2), torch.zeros(1, 2)), torch.tensor([[4.0, 4.0]]))[0, 0]
    for one in SHAPES:
        for other in SHAPES:
            differ = int((masks[one] ^ masks[other]).sum())
            assert (differ == 0) == (one == other)
            assert one == other or differ > 0.2 * int(masks[one].sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_cut_off_or_covered(shape):
    for relation in RELATIONS:
        for picture in drawn(Scene(("red", shape), relation, ("blue", shape))):
            (large, *_), (small, *_) = seen(picture)
            assert 2 * LARGE[0] * 0.8 <= large <= 2 * LARGE[1] + 1
            assert small < large
            areas = [int((picture == c[:, None, None]).all(0).sum()) for c in colours(picture)]
            assert len(areas) == 2


def colours(picture):
    return torch.unique(picture.permute(1, 2, 0)[covered(picture)], dim=0)


def test_the_caption_names_the_larger_thing_first():
    assert Scene(("red", "circle"), "left of", ("blue", "cross")).caption == "a red circle left of a blue cross"


def test_pictures_are_bytes_and_drawn_anew_each_time(splits):
    pictures, captions = shapes.drawn(splits[0][:3], 7, torch.Generator().manual_seed(1))
    assert pictures.shape == (7, 3, SIDE, SIDE)
    assert pictures.dtype == torch.uint8
    assert captions == [splits[0][i % 3].caption for i in range(7)]
    assert len({picture.numpy().tobytes() for picture in pictures}) == 7
    again, _ = shapes.drawn(splits[0][:3], 7, torch.Generator().manual_seed(1))
    assert torch.equal(again, pictures)
