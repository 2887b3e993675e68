"""Reading a report as a browser would, without one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    own_text: str = ""

    def all(self, tag: str = "", **wanted: str) -> list[Element]:
        """Return every element inside with this tag and these attributes; class_ is one class."""
        found = []
        for child in self.children:
            fits = tag in ("", child.tag) and all(child.has(*pair) for pair in wanted.items())
            found += [child] * fits + child.all(tag, **wanted)
        return found

    def has(self, name: str, value: str) -> bool:
        if name == "class_":
            return value in self.attributes.get("class", "").split()
        return self.attributes.get(name) == value

    @property
    def text(self) -> str:
        return self.own_text + "".join(child.text for child in self.children)


class Page(HTMLParser):
    """An HTML page; `root` is the element that holds everything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert self._open == [self.root], f"not closed: {[one.tag for one in self._open[1:]]}"

    def handle_starttag(self, tag: str, attrs: list) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self._open[-1].children.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self._open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> closes <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].own_text += data

    def charts(self) -> dict[str, Element]:
        return {one.attributes["id"]: one for one in self.root.all("figure", class_="chart")}

    def cards(self) -> dict[str, Element]:
        return {
            card.all("h4")[0].text: card
            for card in self.root.all("section", class_="card")
            if card.all("table")
        }


TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav"),
    *("section", "p", "h1", "h2", "h3", "h4", "a", "div", "dl", "dt", "dd", "ul", "li", "pre"),
    *("code", "img", "figure", "figcaption", "details", "summary", "table", "thead", "tbody"),
    *("tr", "th", "td", "svg", "g", "path", "defs", "clippath", "rect", "use", "line", "text"),
    "tspan",
}
"""Every element that a report has."""


def check_page(text: str) -> Page:
    """Fail if anything but a report's own elements and attributes is in the page."""
    page = Page(text)
    metas = 0
    for one in page.root.all():
        assert one.tag in TAGS, one.tag
        for name, value in one.attributes.items():
            assert re.fullmatch(r"[a-z:-]+[0-9]?", name, re.IGNORECASE), name
            assert not name.startswith("on"), name
            if name in ("href", "src", "xlink:href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
            if name == "id":
                assert re.fullmatch(r"[A-Za-z0-9_.-]+", value), value
            assert "url(//" not in value or name in ("aria-label", "alt")  # which are text
        if one.tag == "meta":
            metas += 1
            assert one.attributes.get("http-equiv", "") in ("", "Content-Security-Policy")
    assert metas == 5
    return page


def numbers(element: Element) -> list[list[str]]:
    (body,) = element.all("table")[0].all("tbody")
    return [[cell.text for cell in row.children] for row in body.all("tr")]
