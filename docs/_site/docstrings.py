"""Docstrings as pages of the reference, one for each public module."""

import itertools
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from jinja2 import FileSystemLoader
from jinja2.sandbox import SandboxedEnvironment
from numpydoc import docscrape_sphinx
from sphinx.application import Sphinx

PAGES = Path(__file__).parents[1] / "reference" / "python"


@cache
def modules() -> list[ModuleType]:
    """Return the modules that have a page, the package itself first."""
    names = sorted(page.stem for page in PAGES.glob("*.rst"))
    return [module_of("gpunn"), *(module_of(name) for name in names if name != "gpunn")]


def module_of(page: str) -> ModuleType:
    """Return the module that a page of this name describes."""
    return import_module("gpunn" if page == "gpunn" else f"gpunn.{page}")


def home(module: ModuleType, name: str) -> ModuleType:
    """Return the first module that contains an object; this module's page describes the object."""
    value = getattr(module, name)
    if isinstance(value, ModuleType):
        return module
    having = (each for each in modules() if name in each.__all__)
    return next(each for each in having if getattr(each, name) is value)


def leave_out(
    app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any
) -> bool | None:
    """Tell Sphinx to skip objects described on another page, and methods that scikit-learn adds."""
    if what == "module":
        module = module_of(Path(app.env.docname).name)
        return True if home(module, name) is not module else None
    return True if name.startswith("set_") and name.endswith("_request") else None


def leave_out_object(app: Sphinx, name: str, value: type, options: Any, bases: list[type]) -> None:
    """Remove `object` from the list of base classes that a page shows."""
    bases[:] = [base for base in bases if base is not object]


def list_names(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Add a table of public names to the docstring of a module."""
    if what == "module":
        homes = ((home(value, each).__name__, each) for each in value.__all__)
        names = (f"   {each}" if at == name else f"   ~{at}.{each}" for at, each in homes)
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *names, ""]


CODE = re.compile(r"(``.+?``|`[^`]+`)")
MARKUP = re.compile(r"(?<![\w*\\])\*(?=\w)|\||(?<=\w)_(?!\w)")
"""Matches characters in formulas and code, as in *shape and |x|, that reStructuredText would treat
as markup."""


def escape(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Escape markup characters of reStructuredText in prose, so that pages show them unchanged."""
    verbatim = -1  # lines with a larger indent are code or a figure
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or (0 <= verbatim < indent):
            continue
        verbatim = indent if line.rstrip().endswith("::") else -1
        if not line.lstrip().startswith(">>>") and not in_session(lines[:i]):
            pieces = CODE.split(line)
            pieces[::2] = [MARKUP.sub(r"\\\g<0>", typeset(piece)) for piece in pieces[::2]]
            lines[i] = "".join(pieces)


def typeset(prose: str) -> str:
    """Replace dots that do not end a sentence: Sphinx ends a summary at its first dot."""
    return prose.replace("...", "…").replace(" . ", " · ")


def in_session(before: list[str]) -> bool:
    """Return whether the line that follows `lines` belongs to a Python session."""
    paragraph = itertools.takewhile(str.strip, reversed(before))
    return any(line.lstrip().startswith(">>>") for line in paragraph)


def read_template_once() -> None:
    """Make numpydoc read its template only once."""
    folder = Path(docscrape_sphinx.__file__).with_name("templates")
    environment = SandboxedEnvironment(loader=FileSystemLoader(folder))
    docscrape_sphinx.SandboxedEnvironment = lambda loader: environment


def setup(app: Sphinx) -> dict[str, bool]:
    read_template_once()
    app.connect("autodoc-process-docstring", escape, priority=100)  # before numpydoc
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-bases", leave_out_object)
    app.connect("autodoc-process-docstring", list_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
