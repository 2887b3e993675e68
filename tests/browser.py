"""Pages opened in headless Chromium: the fixture `browser`, and what tests of pages ask.

A page is read from a folder, as from a server: `visit` answers the browser itself, so that no port
is needed, and nothing that a page asks of another host gets through. Playwright drives a Chromium
or Chrome that is installed, or the one that GPUNN_BROWSER names; ci/test.sh installs one where it
may. Where there is none, tests that need it are skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

COMMANDS = [
    *("chromium-headless-shell", "chromium", "chromium-browser"),
    *("google-chrome-stable", "google-chrome"),
]
"""Where a browser is looked for, best first: the one without windows starts fastest."""

ORIGIN = "http://pages.test"
"""The address that folders are given; .test is a name that no host ever has."""

DESKTOP, PHONE = 1280, 360
"""Widths in CSS pixels; 360 is that of most small phones."""

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def command() -> str | None:
    named = os.environ.get("GPUNN_BROWSER")
    if named:
        assert shutil.which(named), f"GPUNN_BROWSER: expected a browser's path; got {named!r}"
        return shutil.which(named)
    return next(filter(None, map(shutil.which, COMMANDS)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="playwright is not installed")
    from playwright.sync_api import sync_playwright

    path = command()
    if path is None:
        pytest.skip("no Chromium or Chrome is installed, and GPUNN_BROWSER names none")
    # Containers lack what Chromium's sandbox needs. All pages are the project's own.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=arguments)
        yield launched
        launched.close()


@contextmanager
def visit(
    browser: Browser,
    folder: Path,
    path: str = "index.html",
    *,
    width: int = DESKTOP,
    height: int = 800,
    dark: bool = False,
) -> Iterator[Page]:
    """Open a page of a folder; fail in the end if anything went wrong on it.

    What counts is each error in the console, each exception that no code caught, each file that the
    folder lacks, and each request to another host. The page prefers less motion.
    """
    faults: list[str] = []

    def answer(route: Route) -> None:
        address = urlsplit(route.request.url)
        file = folder / unquote(address.path).lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        if f"{address.scheme}://{address.netloc}" != ORIGIN:
            faults.append(f"asks for {route.request.url}")
            route.abort()
        elif file.is_file():
            route.fulfill(path=file)
        elif address.path == "/favicon.ico":  # which browsers ask for of their own accord
            route.fulfill(status=204)
        else:
            faults.append(f"asks for {address.path}, which isn't there")
            route.fulfill(status=404)

    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
    )
    context.route("**/*", answer)
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(f"throws {error}"))
    page.on(
        "console",
        lambda message: faults.append(f"logs {message.text}") if message.type == "error" else None,
    )
    try:
        page.goto(f"{ORIGIN}/{path}")
        yield page
    finally:
        context.close()
    assert not faults, f"{path}: {'; '.join(faults)}"


def too_wide(page: Page) -> list[str]:
    """Return what makes a page scroll sideways; nothing where it doesn't."""
    return page.evaluate("""() => {
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width) return [];
        const roots = [document.documentElement, document.body];
        const scrolls = (element) => !roots.includes(element)
            && getComputedStyle(element).overflowX !== "visible";
        const within = (element) => element && (scrolls(element) || within(element.parentElement));
        const wide = [...document.body.querySelectorAll("*")].filter((element) =>
            element.getBoundingClientRect().right > width && !within(element.parentElement));
        return [`${document.documentElement.scrollWidth} pixels are needed, ${width} are there`,
            ...wide.map((element) => element.cloneNode().outerHTML)];
    }""")


def inaccessible(page: Page, within: str | None = None) -> list[str]:
    """Return what axe finds against WCAG 2.2 AA: contrast, text alternatives, names, roles.

    `within` is a CSS selector of the part to look at; None is all of the page.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "runOnly": STANDARDS}
    found = Axe().run(page, context=within, options=options).response["violations"]
    return [
        f"{violation['id']}: {node['failureSummary']} {node['html']}"
        for violation in found
        for node in violation["nodes"]
    ]


if __name__ == "__main__":
    sys.exit(command() is None)  # what ci/environment.sh asks
