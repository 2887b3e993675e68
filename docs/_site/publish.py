"""Add a built site to the sites of other versions, and update the version menus of all sites.

This command copies the site in build/site to PAGES/0.2, and replaces that folder::

    python docs/_site/publish.py build/site PAGES 0.2

PAGES/index.html leads to the newest release, or to "dev" if there are no releases.
"""

import json
import re
import shutil
import sys
from pathlib import Path

REDIRECT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url={0}/index.html">
<title>gpunn</title>
<a href="{0}/index.html">gpunn {0}</a>
"""


def newest_first(names: list[str]) -> list[str]:
    """Return versions in the order of the menu: releases, then others."""

    def key(name: str) -> tuple[bool, list[int]]:
        is_release = re.fullmatch(r"\d+(\.\d+)*", name) is not None
        return is_release, [int(part) for part in name.split(".")] if is_release else []

    return sorted(sorted(names), key=key, reverse=True)


def publish(site: Path, pages: Path, version: str) -> None:
    folder = pages / version
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(site, folder)
    versions = newest_first([path.parent.name for path in pages.glob("*/index.html")])
    for each in versions:
        content = json.dumps({"current": each, "all": versions})
        script = pages / each / "_static" / "versions.js"
        script.write_text(f"window.siteVersions = {content};\n", encoding="utf-8")
    (pages / "index.html").write_text(REDIRECT.format(versions[0]), encoding="utf-8")
    (pages / ".nojekyll").touch()  # otherwise GitHub Pages leaves out folders such as _static


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: publish.py SITE PAGES VERSION")
    publish(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
