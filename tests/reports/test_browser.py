"""A real browser finds nothing to complain about, nothing to fetch, and no page wider than a telephone."""

import pytest

from retrograd.reports.html import page
from tests.reports.browser import browser, executable
from tests.reports.examples import REPORTS

pytestmark = pytest.mark.skipif(executable() is None, reason="no browser is installed")

PAGES = ["full", "two layers", "empty", "broken", "lost", "hostile", "big"]
WIDTH = "document.documentElement.scrollWidth"
INSIDE = """[...document.querySelectorAll("figure svg text")].filter(t => {
  const a = t.getBoundingClientRect(), b = document.documentElement.clientWidth;
  return a.left < -1 || a.right > b + 1;
}).map(t => t.textContent)"""


@pytest.fixture(scope="module")
def chromium():
    with browser() as it:
        yield it


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (folder / f"{name}.html").write_text(page(REPORTS[name](), run="runs/first"), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_a_page_is_quiet_fetches_nothing_and_fits(chromium, files, name, width, dark):
    chromium.open(files / f"{name}.html", width=width, dark=dark)
    assert chromium.complaints() == []
    assert chromium.requests() == []
    assert chromium.value(WIDTH) <= width
    assert chromium.value(INSIDE) == [], "text of a picture that is cut"


def test_commands_and_tables_are_not_cut_on_a_telephone(chromium, files):
    chromium.open(files / "two layers.html", width=400)
    cut = '[...document.querySelectorAll(".verdict pre, .scroll")].filter(e => e.scrollWidth > e.clientWidth).length'
    assert chromium.value(cut) == 0


def test_the_pictures_follow_the_theme(chromium, files):
    colour = 'getComputedStyle(document.querySelector("figure svg text")).fill'
    paper = "getComputedStyle(document.body).backgroundColor"
    light = chromium.open(files / "full.html").value(f"[{colour}, {paper}]")
    dark = chromium.open(files / "full.html", dark=True).value(f"[{colour}, {paper}]")
    printed = chromium.open(files / "full.html", dark=True, print_=True).value(f"[{colour}, {paper}]")
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert printed == light


def test_all_is_printed_also_what_is_folded(chromium, files):
    chromium.open(files / "full.html", print_=True)
    heights = chromium.value('[...document.querySelectorAll("details > *:last-child")].map(e => e.offsetHeight)')
    assert len(heights) == 6
    assert min(heights) > 10


# the same checks fail where they ought to


def spoiled(files, addition, *, policy=True):
    text = (files / "full.html").read_text(encoding="utf-8").replace("</main>", addition + "</main>")
    if not policy:
        text = text.replace("Content-Security-Policy", "X-None")
    path = files / "spoiled.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("policy", [True, False])
def test_a_picture_from_elsewhere_would_be_noticed(chromium, files, policy):
    chromium.open(spoiled(files, '<img src="http://127.0.0.1:9/x.png">', policy=policy))
    assert chromium.requests()
    assert chromium.complaints()


def test_a_script_that_fails_would_be_noticed(chromium, files):
    chromium.open(spoiled(files, "<script>throw new Error('broken')</script>", policy=False))
    assert any("broken" in text for text in chromium.complaints())
    chromium.open(spoiled(files, "<script>throw new Error('broken')</script>"))
    assert any("Content Security Policy" in text for text in chromium.complaints()), "the page's policy stops it"


def test_a_page_too_wide_would_be_noticed(chromium, files):
    chromium.open(spoiled(files, '<div style="width: 700px">wide</div>'), width=360)
    assert chromium.value(WIDTH) > 360
