"""The site of the documentation: built without a warning, complete, readable on every device."""

import json
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urlsplit

import pytest
from browser import DESKTOP, ORIGIN, PHONE, inaccessible, too_wide, visit
from public_names import public_members, public_modules, public_objects

pytest.importorskip("furo", reason="the extra docs is not installed")

from sphinx.search.en import SearchEnglish
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "_site"


LOOKED_AT = ("index", "how_to/resume", "reference/python/reporting")
"""Pages of each kind; the full run opens all."""

SPHINX = f"""
import furo, sys
from sphinx.cmd.build import main
from sphinx.pycode.parser import Parser
Parser.parse_definition = lambda parser: None
whole = furo._compute_navigation_tree
furo._compute_navigation_tree = lambda page: whole(page) if page["pagename"] in {LOOKED_AT} else ""
sys.exit(main(sys.argv[1:]))
"""
"""Sphinx, without what takes a quarter of its time: places of definitions, which only an extension
for source code reads, and the list of all pages on each page. Pages that tests open have the list.
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as built by ./scripts/docs.sh; any warning fails the test."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", SPHINX, "--quiet", "--fail-on-warning"]
    command += ["--conf-dir", SITE, "--doctree-dir", folder / "doctrees", ROOT / "docs"]
    built = subprocess.run([*command, folder / "html"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "html"


class Page(HTMLParser):
    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes.append((tag, given))
        self.anchors.add(given.get("id", ""))
        if tag == "a":
            self.links.append(given.get("href", ""))
        else:
            self.loads += [given[name] for name in ("src", "href", "data") if name in given]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    files = sorted(site.rglob("*.html"))
    return {str(file.relative_to(site)): Page(file) for file in files}


@pytest.fixture(scope="module")
def described(site: Path) -> set[str]:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    kinds = [kind for kind in inventory.data if kind.startswith("py:")]
    return {name for kind in kinds for name in inventory.data[kind]}


def test_every_public_name_is_in_the_reference(described: set[str]) -> None:
    assert set(public_modules()) <= described
    objects = public_objects()
    assert set(objects) <= described
    elsewhere = set(map(id, objects.values()))  # by a shorter name
    others = {
        f"{module}.{name}"
        for module, value in public_modules().items()
        for name in value.__all__
        if id(getattr(value, name)) not in elsewhere
    }
    assert others
    assert others <= described
    members = {
        f"{name}.{member}"
        for name, cls in objects.items()
        if isinstance(cls, type)
        for member, function in public_members(cls)
        if member in vars(cls) and function.__doc__
    }
    assert members
    assert members <= described


def test_classes_have_their_own_parameters(site: Path) -> None:
    text = (site / "reference" / "python" / "layers.html").read_text(encoding="utf-8")
    (signature,) = re.findall(r'<dt[^>]* id="gpunn.layers.Dense">(.*?)</dt>', text, re.DOTALL)
    shown = re.sub(r"<[^>]*>|\s", "", signature)
    assert shown.startswith("classDense(units,activation='identity',bias=True")


def test_names_in_pages_link_to_the_reference(pages: dict[str, Page]) -> None:
    assert "../reference/python/gpunn.html#gpunn.Trainer" in pages["explanation/gpu.html"].links


def test_every_public_module_has_a_page() -> None:
    names = {page.stem for page in (ROOT / "docs" / "reference" / "python").glob("*.rst")}
    assert names == {name.removeprefix("gpunn.") for name in public_modules()}


def test_every_command_is_in_the_reference(pages: dict[str, Page]) -> None:
    from gpunn.cli import main

    anchors = pages["reference/command_line.html"].anchors
    assert {f"gpunn-{name}" for name in main.commands} <= anchors


def local(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("", "data") and not parts.netloc


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[str, Page]) -> None:
    loaded = {address for page in pages.values() for address in page.loads}
    assert loaded
    assert [address for address in loaded if not local(address)] == []
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        used = re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", text)
        assert [address for pair in used for address in pair if not local(address)] == []
    for script in site.rglob("*.js"):
        code = re.sub(
            r"/\*.*?\*/|^\s*//.*$", "", script.read_text(encoding="utf-8"), flags=re.S | re.M
        )
        addresses = set(re.findall(r"[\"'`](?:https?:)?//[^\"'`]+", code))
        assert {each for each in addresses if "//www.w3.org/" not in each} == set(), script


def test_links_within_the_site_exist(site: Path, pages: dict[str, Page]) -> None:
    lost = []
    for name, page in pages.items():
        for link in set(filter(local, page.links)):  # most are in the navigation, and again in text
            target, anchor = urldefrag(unquote(link))
            file = normpath(join(dirname(name), target)) if target else name
            linked = pages.get(file)
            found = linked is not None or (site / file).exists()
            if not found or (linked and anchor and anchor not in linked.anchors):
                lost.append((name, link))
    assert lost == []


def test_images_have_alternative_text(pages: dict[str, Page]) -> None:
    pictures = [given for page in pages.values() for tag, given in page.attributes if tag == "img"]
    assert pictures
    assert [given for given in pictures if len(given.get("alt", "")) < 20] == []


def test_pages_name_their_language(pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        languages = [given["lang"] for tag, given in page.attributes if tag == "html"]
        assert languages == ["zh-Hans" if ".zh." in name else "en"]


def check(browser: Any, site: Path, name: str) -> None:
    for width, dark in ((PHONE, False), (DESKTOP, True)):
        with visit(browser, site, name, width=width, dark=dark) as page:
            assert too_wide(page) == []
            assert inaccessible(page) == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_can_be_read(browser: Any, site: Path, name: str) -> None:
    check(browser, site, f"{name}.html")


@pytest.mark.full
def test_every_page_can_be_read(browser: Any, site: Path, pages: dict[str, Page]) -> None:
    for name in pages:
        check(browser, site, name)


def test_search_finds(browser: Any, site: Path) -> None:
    with visit(browser, site) as page:
        page.get_by_role("textbox", name="Search").first.fill("label_smoothing")
        page.keyboard.press("Enter")
        result = page.locator("#search-results a").first
        result.wait_for()
        result.click()
        page.get_by_text("label_smoothing").first.wait_for()


SEARCHES = {
    "early stopping": "how_to/early_stopping",
    "overfitting": "how_to/early_stopping",
    "regularization": "how_to/early_stopping",
    "class weights": "how_to/imbalanced",
    "imbalanced": "how_to/imbalanced",
    "time series": "how_to/splits",
    "prediction interval": "how_to/prediction_intervals",
    "prediction intervals": "how_to/prediction_intervals",
    "uncertainty": "how_to/prediction_intervals",
    "hyperparameter tuning": "how_to/many_runs",
    "categorical": "how_to/tables",
    "multilabel": "how_to/tables",
    "transfer learning": "how_to/fine_tuning",
    "ROC curve": "how_to/report",
    "Keras": "start/migrating",
    "NaN": "how_to/faq",
    "GitHub Actions": "how_to/ci",
}
"""What new users search for, and the page that must come first."""

SEARCHED = ("uncertainty", "hyperparameter tuning")
"""What the default run searches for in a browser."""


def test_words_of_new_users_are_in_the_titles_of_their_pages(site: Path) -> None:
    """The index maps the stem of each word in a title or heading to page numbers."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    stem = SearchEnglish({}).stem
    for words, name in SEARCHES.items():
        page = index["docnames"].index(name)
        for word in words.split():
            numbers = index["titleterms"].get(stem(word), [])
            assert page in (numbers if isinstance(numbers, list) else [numbers]), words


@pytest.mark.parametrize(
    "words",
    [pytest.param(each, marks=[] if each in SEARCHED else pytest.mark.full) for each in SEARCHES],
)
def test_search_finds_the_page_for_what_new_users_look_for(
    browser: Any, site: Path, words: str
) -> None:
    with visit(browser, site, f"search.html?q={quote(words)}") as page:
        result = page.locator("#search-results li a").first
        result.wait_for()
        page.locator("#search-results .search-summary", has_text="finished").wait_for()
        assert f"{SEARCHES[words]}.html" in (result.get_attribute("href") or "")


def test_commands_are_copied_without_prompts(browser: Any, site: Path) -> None:
    with visit(browser, site) as page:
        block = page.locator("div.highlight-console").first
        block.hover()
        block.locator("button").click()
        search = page.get_by_role("textbox", name="Search").first
        search.focus()
        page.keyboard.press("Control+V")
        assert search.input_value().startswith("pip install")
        assert "$" not in search.input_value()


def test_dark_and_light_can_be_chosen(browser: Any, site: Path) -> None:
    with visit(browser, site) as page:
        background = "getComputedStyle(document.body).backgroundColor"
        seen = set()
        for _ in range(3):
            page.locator(".theme-toggle-content button").click()
            seen.add(page.evaluate(background))
        assert len(seen) == 2


def test_horizontally_scrolling_blocks_can_be_focused(browser: Any, site: Path) -> None:
    with visit(browser, site, "reference/configuration.html", width=PHONE) as page:
        wide = "[...document.querySelectorAll('pre')].filter(e => e.scrollWidth > e.clientWidth)"
        assert page.evaluate(f"{wide}.length") > 0
        assert page.evaluate(f"{wide}.every(e => e.tabIndex === 0)")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_learning_page_links_back(
    browser: Any, site: Path, pages: dict[str, Page], language: str
) -> None:
    with visit(browser, site, f"learning/index.html#{language}") as page:
        links = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert len(links) == 6
    for link in links:
        target, anchor = urldefrag(unquote(link))
        assert anchor in pages[target.removeprefix(f"{ORIGIN}/")].anchors | {""}, link


@pytest.fixture(scope="module")
def publish() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(SITE / "publish.py")))


def test_releases_come_first_newest_first(publish: Any) -> None:
    assert publish.newest_first(["0.2", "dev", "0.10", "0.9.1"]) == ["0.10", "0.9.1", "0.2", "dev"]


def test_versions_have_links(browser: Any, site: Path, publish: Any, tmp_path: Path) -> None:
    for version in ("dev", "0.2", "0.1", "0.2"):
        publish.publish(site, tmp_path, version)
    with visit(browser, tmp_path) as page:  # which leads to the newest release
        page.wait_for_url("**/0.2/index.html")
    with visit(browser, tmp_path, "0.2/start/install.html") as page:
        choice = page.get_by_label("Version")
        assert choice.locator("option").all_inner_texts() == ["0.2", "0.1", "dev"]
        assert choice.input_value() == "0.2"
        choice.select_option("0.1")
        page.wait_for_url("**/0.1/start/install.html")
    (tmp_path / "0.1" / "start" / "install.html").unlink()
    lost = pytest.raises(AssertionError, match=r"install.html, which isn't there")
    with lost, visit(browser, tmp_path, "dev/start/install.html") as page:
        page.get_by_label("Version").select_option("0.1")
        page.wait_for_url("**/0.1/index.html")


def test_one_version_has_no_menu(browser: Any, site: Path) -> None:
    with visit(browser, site) as page:
        assert not page.locator("label.versions").is_visible()
