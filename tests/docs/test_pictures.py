"""The tutorial's images match the script's output, and are accessible."""

import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import pytest
from browser import visit

ROOT = Path(__file__).parents[2]
START = ROOT / "docs" / "start"

IMAGE = re.compile(r"!\[([^\]]+)\]\(pictures/([\w.]+)\)")


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "docs" / "draw_tutorial.py")))


def test_the_script_draws_them(script):
    drawn = script.drawings()
    kept = {path.name: path.read_text(encoding="utf-8") for path in script.FOLDER.iterdir()}
    assert kept.keys() == drawn.keys()
    old = [name for name in drawn if kept[name] != drawn[name]]
    assert old == [], "run python scripts/docs/draw_tutorial.py"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_tutorial_shows_and_describes_each(script, language):
    """The alternative text of an image is the image's title."""
    suffix = "" if language == "en" else f".{language}"
    shown = IMAGE.findall((START / f"tutorial{suffix}.md").read_text(encoding="utf-8"))
    words = script.WORDS[language]
    assert shown == [(words[name]["title"], f"{name}{suffix}.svg") for name in script.PICTURES]
    for title, name in shown:
        root = ET.fromstring((script.FOLDER / name).read_text(encoding="utf-8"))
        assert root.attrib["role"] == "img"
        assert root[0].text == title


def test_both_languages_have_all_words(script):
    english, chinese = script.WORDS["en"], script.WORDS["zh"]
    assert {name: words.keys() for name, words in english.items()} == {
        name: words.keys() for name, words in chinese.items()
    }


LAID_OUT = """() => [...document.querySelectorAll("svg")].map((svg) => {
    const whole = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")];
    const boxes = texts.map((text) => text.getBoundingClientRect());
    const name = (i) => texts[i].textContent;
    const light = (color) => {
        const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
            .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const faults = [];
    boxes.forEach((box, i) => {
        if (box.left < whole.left + 3 || box.right > whole.right - 3
            || box.top < whole.top + 3 || box.bottom > whole.bottom - 3) {
            faults.push(`outside: ${name(i)}`);
        }
        for (let j = i + 1; j < boxes.length; j++) {
            const across = Math.min(box.right, boxes[j].right) - Math.max(box.left, boxes[j].left);
            const down = Math.min(box.bottom, boxes[j].bottom) - Math.max(box.top, boxes[j].top);
            if (across > 1 && down > 3) faults.push(`${name(i)} lies over ${name(j)}`);
        }
        const x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
        const behind = [...svg.querySelectorAll("rect, circle")].filter((shape) => {
            const box = shape.getBoundingClientRect();
            return box.left < x && x < box.right && box.top < y && y < box.bottom;
        }).at(-1);
        const levels = [texts[i], behind].map((one) => light(getComputedStyle(one).fill));
        const contrast = (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05);
        if (contrast < 4.5) faults.push(`${name(i)} has a contrast of ${contrast.toFixed(1)}`);
    });
    return faults;
}).flat()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_inside_the_image_and_has_contrast(browser, script, tmp_path, dark):
    """Text stays within its image and does not overlap; contrast follows WCAG 2.2, 1.4.3."""
    pictures = "".join(script.drawings().values())
    page = f"<!doctype html><meta charset=utf-8><title>Images</title>{pictures}"
    (tmp_path / "index.html").write_text(page, encoding="utf-8")
    with visit(browser, tmp_path, dark=dark) as opened:
        assert opened.evaluate(LAID_OUT) == []
