"""The report in a real browser, on a desktop and on a phone, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from reporting.chromium import Chromium, find_chromium

from gpunn.reporting import write_report

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="no Chromium: neither on PATH nor named by CHROMIUM"
)

WINDOWS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Chromium]:
    path = find_chromium()
    assert path is not None
    browser = Chromium(path, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory, digits_run, wider_run, numbers_run) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report([digits_run, wider_run, numbers_run], path, "numpy")
    return path


CHARTS = """
[...document.querySelectorAll('figure.chart')].map(figure => {
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

IMAGES = "[...document.images].map(image => image.complete && image.naturalWidth > 0)"


def check(browser, report, width, height, dark, at_least):
    """Open a report and look at everything that can be wrong with it."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(report, width=width, height=height, dark=dark)
    charts = browser.evaluate(CHARTS)
    assert len(charts) >= at_least["charts"]
    for chart in charts:
        least = {"parts": 1, "rows": 1, "text": 30, "width": 250, "height": 120}
        assert all(chart[name] >= limit for name, limit in least.items()), chart
        assert (chart["empty"], chart["outside"]) == (0, 0), chart
    images = browser.evaluate(IMAGES)
    assert len(images) >= at_least["images"]
    assert all(images)
    # Nothing is wider than the window, and the theme is the one asked for.
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background[4:-1].split(","))
    assert (brightness < 200) == dark
    assert browser.complaints == []
    loaded = [url for url in browser.requests if not url.startswith("data:image/png;base64,")]
    assert loaded == [report.resolve().as_uri()]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
def test_it_opens(browser, report, window, dark):
    check(browser, report, *WINDOWS[window], dark, {"charts": 16, "images": 31})


def test_that_of_mnist_opens(browser, mnist_run, tmp_path):
    """A large data set, with thousands of samples in the confusion matrix and many wrong ones."""
    path = tmp_path / "mnist.html"
    write_report([mnist_run], path, "numpy")
    check(browser, path, *WINDOWS["desktop"], False, {"charts": 7, "images": 36})
    text = browser.evaluate("document.body.innerText")
    assert "10,000" in text


def test_names_stay_within_their_boxes(browser, long_named_run, tmp_path):
    path = tmp_path / "long.html"
    write_report([long_named_run], path, "numpy")
    browser.open(path, width=1280, height=900)
    script = """
    [...document.querySelectorAll('.tile')].map(
      tile => [tile.innerText.includes('val_root'), tile.scrollWidth > tile.clientWidth]
    )
    """
    named, too_wide = zip(*browser.evaluate(script), strict=True)
    assert (any(named), any(too_wide)) == (True, False)


def test_text_stands_out(browser, report):
    """Contrast of text with its card, by WCAG 2.2, success criterion 1.4.3: at least 4.5."""
    script = """
    (() => {
      const light = colour => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
          .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const card = light(getComputedStyle(document.querySelector('.card')).backgroundColor);
      return [...document.querySelectorAll('.card *')]
        .filter(one => [...one.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()))
        .map(one => {
          const style = getComputedStyle(one);
          const text = light(one.closest('svg') ? style.fill : style.color);
          const [low, high] = [text, card].sort((a, b) => a - b);
          return [(high + 0.05) / (low + 0.05), one.tagName, one.textContent.trim().slice(0, 30)];
        })
        .filter(([contrast]) => contrast < 4.5);
    })()
    """
    for dark in (False, True):
        browser.open(report, width=1280, height=900, dark=dark)
        assert browser.evaluate(script) == []


def test_complaints_are_noticed(browser, tmp_path):
    """What the tests above rely on: errors and requests of a page do arrive here."""
    page = tmp_path / "broken.html"
    page.write_text(
        "<script>console.log('a'); nothing.at.all</script><img src='http://127.0.0.1:9/x'>"
    )
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page, width=1280, height=900)
    assert any("console" in complaint for complaint in browser.complaints)
    assert any("exception" in complaint for complaint in browser.complaints)
    assert any(url.startswith("http:") for url in browser.requests)
