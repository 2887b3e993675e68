"""The report in a real browser, on a desktop and on a phone, light and dark."""

from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, inaccessible, too_wide, visit

from gpunn.reporting import write_report

CHARTS = """
() => [...document.querySelectorAll('figure.chart')].map(figure => {
  const plot = figure.querySelector('svg.plot');
  const place = plot.getBoundingClientRect();
  const parts = [...plot.querySelectorAll('g[id*="-series-"], g[id*="-cell-"]')];
  return {
    key: figure.id,
    width: place.width,
    height: place.height,
    parts: parts.length,
    empty: parts.filter(part => {
      const box = part.getBoundingClientRect();
      return Math.max(box.width, box.height) < 1;
    }).length,
    outside: parts.filter(part => {
      const box = part.getBoundingClientRect();
      return box.left < place.left - 8 || box.right > place.right + 8
        || box.top < place.top - 8 || box.bottom > place.bottom + 8;
    }).length,
    rows: figure.querySelectorAll('details tbody tr').length,
    text: document.getElementById(plot.getAttribute('aria-describedby')).textContent.length,
  };
})
"""

IMAGES = "() => [...document.images].map(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def report(tmp_path_factory, all_pages) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "index.html").write_text(all_pages[1], encoding="utf-8")
    return folder


def check(page, dark, charts, images):
    """Look at everything that can be wrong with a report; `visit` looks at what it asks for."""
    found = page.evaluate(CHARTS)
    assert len(found) >= charts
    for chart in found:
        least = {"parts": 1, "rows": 1, "text": 30, "width": 250, "height": 120}
        assert all(chart[name] >= limit for name, limit in least.items()), chart
        assert (chart["empty"], chart["outside"]) == (0, 0), chart
    shown = page.evaluate(IMAGES)
    assert len(shown) >= images
    assert all(shown)
    assert too_wide(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background[4:-1].split(","))
    assert (brightness < 200) == dark


@pytest.mark.parametrize(
    ("width", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop-light", "phone-dark"]
)
def test_it_opens(browser, report, width, dark):
    with visit(browser, report, width=width, dark=dark) as page:
        check(page, dark, charts=16, images=31)
        assert inaccessible(page) == []


def test_that_of_mnist_opens(browser, mnist_run, tmp_path):
    """A large data set, with thousands of samples in the confusion matrix and many wrong ones."""
    write_report([mnist_run], tmp_path / "index.html", "numpy")
    with visit(browser, tmp_path) as page:
        check(page, False, charts=7, images=36)
        assert "10,000" in page.inner_text("body")


def test_names_stay_within_their_boxes(browser, long_named_run, tmp_path, no_drawings):
    write_report([long_named_run], tmp_path / "index.html", "numpy")
    with visit(browser, tmp_path) as page:
        tiles = page.evaluate(
            "() => [...document.querySelectorAll('.tile')].map("
            "tile => [tile.innerText.includes('val_root'), tile.scrollWidth > tile.clientWidth])"
        )
    named, too_wide = zip(*tiles, strict=True)
    assert (any(named), any(too_wide)) == (True, False)
