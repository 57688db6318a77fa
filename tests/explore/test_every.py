"""What every exploration is put through: quick, unseen by the random numbers, whole in JSON, drawn in every form."""

import csv
import dataclasses
import io
import math
import re
import time
import xml.etree.ElementTree as ET

import pytest
import torch

from retrograd import runs
from retrograd.cli.tables import table
from retrograd.errors import UsageError
from retrograd.explore import EXPLORATIONS, as_json, write
from retrograd.explore.files import contents
from retrograd.reports.plots.colours import LIGHT

SMALL = {
    "forgetting": {"cells": ["rnn", "lstm"], "size": 8, "steps": 20},
    "depth": {"layers": 6, "width": 8},
    "taps": {"size": 8, "steps": 20},
}
ODD = [
    ("scalar", {"weights": [-2.0, 1e300], "steps": 9}),
    ("scalar", {"weights": [1.0], "activations": ["relu"], "inputs": [-1.0], "steps": 2}),
    ("scalar", {"weights": [0.1 * i for i in range(15)], "steps": 2}),
    ("eigenvalues", {"matrix": [[-1e200]], "steps": 5}),
    ("eigenvalues", {"matrix": [[0.0, 1.0], [0.0, 0.0]], "steps": 1}),
    ("eigenvalues", {"matrix": [[0.5, 1.0], [-1.0, 0.5]], "vector": [1e-300, 0.0], "steps": 200}),
    ("eigenvalues", {"start": "normal=1e160", "size": 3}),
    ("derivatives", {"activations": ["identity"], "reach": 0.01, "points": 3}),
    ("depth", {"layers": 1, "width": 1, "activations": ["relu"]}),
    ("depth", {"layers": 3, "width": 4, "start": "normal=0"}),
    ("depth", {"layers": 12, "width": 4, "start": "normal=1e200", "activations": ["identity", "relu"]}),
    ("optimizers", {"rate": 1e200, "steps": 20}),
    ("optimizers", {"quadratic": (0.0, 0.0, 0.0), "start": (0.0, 0.0)}),
    ("optimizers", {"quadratic": (1.0, 0.0, -1.0), "steps": 1}),
    ("paths", {"steps": 1, "activation": "relu"}),
    ("paths", {"steps": 60, "size": 2, "activation": "relu"}),
    ("paths", {"steps": 30, "start": "normal=1e50", "activation": "identity"}),
    ("tied", {"steps": 1, "activation": "relu"}),
    ("tied", {"steps": 60, "size": 2, "updates": 1, "activation": "relu"}),
    ("tied", {"rate": 1e200, "updates": 3, "activation": "identity"}),
    ("tied", {"start": "normal=1e50", "activation": "identity"}),
    ("tied", {"start": "normal=0", "updates": 2}),
    ("taps", {"sets": [(8,)], "size": 1, "steps": 8}),
    ("taps", {"sets": [(1,), (2, 3)], "size": 3, "steps": 40, "start": "normal=0"}),
    ("taps", {"sets": [(1, 2)], "size": 3, "steps": 40, "start": "normal=1e50", "activation": "identity"}),
    ("forgetting", {"cells": ["additive", "rnn:normal=0"], "size": 1, "steps": 8}),
    ("forgetting", {"cells": ["elman:normal=1e200", "irnn"], "size": 3, "steps": 8}),
]


@pytest.fixture(scope="module")
def results():
    return {name: it.explore(**SMALL.get(name, {})) for name, it in EXPLORATIONS.items()}


@pytest.fixture(scope="module")
def defaults():
    """Each as it is without options, the seconds that it took, and whether torch's random numbers were left alone."""
    found = {}
    for name, it in EXPLORATIONS.items():
        before, start = torch.get_rng_state(), time.process_time()
        result = it.explore()
        found[name] = result, time.process_time() - start, torch.equal(torch.get_rng_state(), before)
    return found


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_it_is_instant_and_draws_no_global_random_number(name, defaults, results):
    _, seconds, untouched = defaults[name]
    assert seconds < 4  # under two, on a machine that does nothing else
    assert untouched
    torch.rand(1)
    assert EXPLORATIONS[name].explore(**SMALL.get(name, {})) == results[name]


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_the_result_is_frozen_numbers(name, results):
    assert not list(_tensors(dataclasses.asdict(results[name])))
    with pytest.raises(dataclasses.FrozenInstanceError):
        results[name].steps = 3


def _tensors(value):
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif type(value) not in (int, float, str, type(None)):
        yield value


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_the_table_fits_eighty_columns(name, defaults):
    it = EXPLORATIONS[name]
    shown = it.table(defaults[name][0])
    assert all(len(row) == len(shown.heads) for row in shown.rows)
    assert all(len(line) <= 80 for line in table([shown.heads, *shown.rows], room=None))


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_the_json_is_the_result(name, results):
    read = runs.from_json(as_json(EXPLORATIONS[name], results[name]))
    assert read["title"] == EXPLORATIONS[name].title
    assert _listed({key: read[key] for key in read.keys() - {"title", "said"}}) == _listed(
        dataclasses.asdict(results[name])
    )


def _listed(value):
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_the_csv_has_a_head_and_rows_as_wide(name, results):
    rows = list(csv.reader(io.StringIO(contents(EXPLORATIONS[name], results[name], "csv"))))
    assert len(rows) > 3
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("name", EXPLORATIONS)
def test_the_page_needs_nothing_from_elsewhere(name, results):
    page = contents(EXPLORATIONS[name], results[name], "html")
    assert not re.findall(r"<script|<link|@import|javascript:|\son\w+=", page)
    urls = set(re.findall(r"""(?:href|src)=["']([^"']+)|url\(([^)]+)\)""", page))
    assert all((a or b).startswith(("#", "data:")) for a, b in urls)
    assert "#01fe" not in page  # every colour is the page's
    assert "var(--ink)" in page
    picture = page[page.index("<svg") : page.index("</svg>") + 6]
    used = set(re.findall(r'(?:href="|url\()#([\w.-]+)', picture))
    assert used <= set(re.findall(r' id="([\w.-]+)"', picture))


@pytest.mark.parametrize(("name", "options"), ODD)
def test_what_is_far_out_is_said_and_drawn(name, options):
    it = EXPLORATIONS[name]
    result = it.explore(**options)
    assert it.say(result).endswith(".")
    assert it.table(result).rows
    assert runs.from_json(as_json(it, result))
    assert contents(it, result, "png").startswith(b"\x89PNG")


DRAWN = [
    ("eigenvalues", {"matrix": [[0.5, 1.0], [-1.0, 0.5]]}),
    ("eigenvalues", {"start": "orthogonal"}),
    ("eigenvalues", {"start": "normal", "size": 8}),
    ("scalar", {"weights": [-2.0, -0.5, 0.25, 1.0, 3.0, 5.0], "inputs": [1.0, -1.0], "steps": 12}),
    ("optimizers", {"rate": 0.2}),
    ("optimizers", {"quadratic": (1e3, 0.0, 1e-3), "start": (1e-4, 50.0), "rate": 1e-4}),
    ("depth", {"layers": 120, "width": 4}),
    ("paths", {"steps": 40, "size": 3}),
    ("tied", {"steps": 60, "size": 3, "updates": 12}),
    ("tied", {"steps": 2, "start": "normal=2", "activation": "relu"}),
    ("taps", {"sets": [(d, 2 * d) for d in range(1, 12)], "size": 4, "steps": 300}),
    ("forgetting", {"cells": ["rnn:normal=0.01", "lstm:chrono=20", "additive"], "size": 6, "steps": 200}),
]


@pytest.mark.parametrize(("name", "options"), [*((name, None) for name in EXPLORATIONS), *DRAWN])
def test_no_label_is_cut_off_and_none_lies_on_another(name, options, defaults):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    from retrograd.reports.plots.files import styled

    it = EXPLORATIONS[name]
    with styled():
        figure = it.draw(it.explore(**options) if options else defaults[name][0], LIGHT)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [artist for artist in figure.artists if isinstance(artist, Text) and artist.get_text()]
        boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts}
    assert len(boxes) > 5
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes.items():
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} is cut off"
    items = list(boxes.items())
    for i, (text, box) in enumerate(items):
        for other, beside in items[:i]:
            apart = (
                min(box.x1, beside.x1) <= max(box.x0, beside.x0) + 1
                or min(box.y1, beside.y1) <= max(box.y0, beside.y0) + 2
            )
            assert apart, f"{text.get_text()!r} lies on {other.get_text()!r}"


def test_the_files_are_written_and_never_over_others(tmp_path, results):
    it, result = EXPLORATIONS["derivatives"], results["derivatives"]
    targets = {kind: tmp_path / "new" / f"it.{kind}" for kind in ("html", "png", "svg", "csv")}
    assert write(it, result, targets) == list(targets.values())
    ET.fromstring(targets["svg"].read_text())
    with pytest.raises(UsageError, match=r"it\.html is there already"):
        write(it, result, targets)
    targets["html"].write_text("mine")
    write(it, result, targets, force=True)
    assert targets["html"].read_text().startswith("<!doctype html>")


def test_nothing_is_written_where_one_file_cannot_be(tmp_path, results):
    (tmp_path / "there.png").write_text("mine")
    (tmp_path / "file").write_text("mine")
    it, result = EXPLORATIONS["derivatives"], results["derivatives"]
    new = tmp_path / "new.svg"
    for other, said in (
        (tmp_path / "there.png", "is there already"),
        (tmp_path, "is a folder"),
        (new, "same name"),
        (tmp_path / "file" / "x.png", "is a file"),
    ):
        with pytest.raises(UsageError, match=said):
            write(it, result, {"png": other, "svg": new})
        assert not new.exists()
    assert (tmp_path / "there.png").read_text() == "mine"


def test_a_folder_that_may_not_be_written_is_said(tmp_path, results, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="permission denied"):
        write(EXPLORATIONS["derivatives"], results["derivatives"], {"png": tmp_path / "x.png"})


def test_infinity_is_said():
    found = EXPLORATIONS["scalar"].explore([2.0], activations=["identity"], steps=1100)
    assert found.courses[0].states[-1] == math.inf
    assert "infinitely much" in EXPLORATIONS["scalar"].say(found)
