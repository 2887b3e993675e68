"""The checks of pages find planted faults."""

from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, inaccessible, too_wide, visit

PAGE = """<!doctype html><html lang="en"><head><title>A page</title></head>
<body><main><h1>Heading</h1>{}</main></body></html>"""


def written(folder: Path, content: str) -> Path:
    (folder / "index.html").write_text(PAGE.format(content), encoding="utf-8")
    return folder


def test_a_page_without_faults(browser, tmp_path):
    (tmp_path / "data.json").write_text('{"answer": 42}', encoding="utf-8")
    script = "fetch('data.json').then(r => r.json()).then(data => p.innerText = data.answer)"
    content = f"<p id=p></p><script>{script}</script>"
    with visit(browser, written(tmp_path, content), width=PHONE) as page:
        page.get_by_text("42").wait_for()
        assert too_wide(page) == []
        assert inaccessible(page) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("<script>console.error('planted')</script>", "logs planted"),
        ("<script>throw new Error('planted')</script>", "throws planted"),
        ("<img alt='' src='absent.png'>", "asks for /absent.png, which isn't there"),
        ("<img alt='' src='https://other.test/a.png'>", "asks for https://other.test/a.png"),
    ],
)
def test_errors_are_noticed(browser, tmp_path, content, fault):
    with pytest.raises(AssertionError, match=fault), visit(browser, written(tmp_path, content)):
        pass


def test_too_wide_elements_are_named(browser, tmp_path):
    row = "<div style='{}'><p id=wide style='width: 500px'>a</p></div>"
    with visit(browser, written(tmp_path, row.format("")), width=PHONE) as page:
        width, *elements = too_wide(page)
        assert "360 are there" in width
        assert "wide" in " ".join(elements)
        page.set_viewport_size({"width": DESKTOP, "height": 800})
        assert too_wide(page) == []
    with visit(browser, written(tmp_path, row.format("overflow: auto")), width=PHONE) as page:
        assert too_wide(page) == []


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>", "image-alt"),
        ("<p style='color: #aaa; background: #fff'>pale</p>", "color-contrast"),
        ("<button></button>", "button-name"),
    ],
)
def test_inaccessible_elements_are_named(browser, tmp_path, content, rule):
    with visit(browser, written(tmp_path, content)) as page:
        assert [fault.partition(":")[0] for fault in inaccessible(page)] == [rule]
        assert inaccessible(page, within="h1") == []
