"""Docstrings of public names are complete, valid reStructuredText, and match signatures.

`test_documents.py` runs their examples. `[tool.numpydoc_validation]` in pyproject.toml selects
numpydoc's checks.
"""

import doctest
import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from public_names import NEEDS, is_there, public_members, public_modules, public_objects

pytest.importorskip("numpydoc", reason="numpydoc is not installed")

import docutils.frontend
import docutils.nodes
import docutils.parsers.rst
import docutils.utils
from numpydoc.docscrape import NumpyDocString, get_doc_object
from numpydoc.validate import validate

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
LEFT_OUT = set(SETTINGS["numpydoc_validation"]["checks"]) - {"all"}

PROSE = ("Summary", "Extended Summary", "Notes", "References")
LISTS = ("Parameters", "Other Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns")

PAGE = re.compile(r"docs/[\w/.]+\.md")

OBJECTS = public_objects()
MODULES = public_modules()


def definitions() -> dict[str, tuple[Any, Any]]:
    """Return each public object and member that has a docstring or inherits none.

    The second value is the class of a member, otherwise None.
    """
    objects = {id(value): (name, value, None) for name, value in OBJECTS.items()}
    members = [
        (f"{name}.{member}", function, cls, member in vars(cls))
        for name, cls in OBJECTS.items()
        for member, function in (public_members(cls) if inspect.isclass(cls) else ())
        if function.__doc__ or not inspect.getdoc(getattr(cls, member))
    ]
    for name, function, cls, _ in sorted(members, key=lambda member: not member[-1]):
        objects.setdefault(id(function), (name, function, cls))
    return {name: (value, cls) for name, value, cls in objects.values()}


DEFINITIONS = definitions()


def of_module(module: str) -> dict[str, tuple[Any, Any]]:
    return {
        name: (value, cls)
        for name, (value, cls) in DEFINITIONS.items()
        if name.rpartition(".")[0].removesuffix(f".{cls.__name__}" if cls else "") == module
    }


@cache  # several tests read each docstring
def parsed(docstring: str) -> NumpyDocString:
    return NumpyDocString(inspect.cleandoc(docstring))


def excused(code: str, name: str, value: Any, cls: Any) -> bool:
    if code == "EX01":  # a class's example shows its methods; errors are raised by others
        return cls is not None or (inspect.isclass(value) and issubclass(value, Exception))
    if code in ("RT01", "SS05") and cls is not None:  # a property is described as a value
        static = inspect.getattr_static(cls, name.rpartition(".")[2])
        if isinstance(static, property | cached_property):
            return True
    if code == "PR03" and name.startswith("gpunn.optimizers."):
        return True  # beside the base class's other parameters stands l2_penalty, a keyword
    return code in LEFT_OUT


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_are_complete(module: str) -> None:
    problems = {
        (name, code): message
        for name, (value, cls) in of_module(module).items()
        for code, message in validate(get_doc_object(value))["errors"]
        if not excused(code, name, value, cls)
    }
    assert not problems


@pytest.mark.parametrize("module", MODULES)
def test_every_listed_name_is_described(module: str) -> None:
    undescribed = [  # numpydoc ignores parameters whose type is a set of choices
        (name, entry.name or entry.type)
        for name, (value, _) in of_module(module).items()
        for section in LISTS
        for entry in parsed(value.__doc__ or "")[section]
        if not entry.desc
    ]
    assert not undescribed


def resolves(name: str, module: str, cls: Any) -> bool:
    """Return whether a public name exists: in full, or relative to its module or class."""
    paths = [f"{module}.{name}", name] + ([f"{module}.{cls.__name__}.{name}"] if cls else [])
    if any(path in DEFINITIONS or path in MODULES for path in paths):
        return True
    return name.startswith(tuple(f"gpunn.{each}." for each in NEEDS if not is_there(NEEDS[each])))


@pytest.mark.parametrize("module", MODULES)
def test_see_also_names_exist(module: str) -> None:
    unknown = [
        (name, other)
        for name, (value, cls) in of_module(module).items()
        for others, _ in parsed(value.__doc__ or "")["See Also"]
        for other, _ in others
        if not resolves(other, module, cls)
    ]
    assert not unknown


def test_cited_pages_exist() -> None:
    files = (ROOT / "gpunn").rglob("*.py")
    cited = {page for file in files for page in re.findall(PAGE, file.read_text("utf-8"))}
    assert cited
    assert not [page for page in cited if not (ROOT / page).is_file()]


def documented_names(docstring: str) -> list[str]:
    document = parsed(docstring)
    entries = [*document["Parameters"], *document["Other Parameters"]]
    return [name for entry in entries for name in entry.name.replace("\\", "").split(", ")]


def test_overrides_have_the_parameters_of_the_docstrings_that_they_inherit() -> None:
    problems = []
    for name, cls in OBJECTS.items():
        for member, function in public_members(cls) if inspect.isclass(cls) else ():
            if f"{name}.{member}" in DEFINITIONS or function.__doc__:
                continue
            if inspect.isfunction(inspect.getattr_static(cls, member)):
                taken = [each for each in inspect.signature(function).parameters if each != "self"]
                documented = documented_names(inspect.getdoc(getattr(cls, member)) or "")
                if taken != documented:
                    problems.append((f"{name}.{member}", taken, documented))
    assert not problems


def texts(docstring: str) -> Iterator[str]:
    document = parsed(docstring)
    for section in PROSE:
        yield "\n".join(document[section])
    for section in LISTS:
        for entry in document[section]:
            yield "\n".join(entry.desc)
    pieces = doctest.DocTestParser().parse("\n".join(document["Examples"]))
    yield "\n".join(piece for piece in pieces if isinstance(piece, str))


@cache
def rst_settings() -> Any:
    settings = docutils.frontend.get_default_settings(docutils.parsers.rst.Parser)
    settings.report_level, settings.halt_level = 6, 6
    return settings


def complaints(text: str) -> list[str]:
    parser = docutils.parsers.rst.Parser()
    document = docutils.utils.new_document("docstring", rst_settings())
    messages: list[str] = []
    document.reporter.attach_observer(
        lambda message: messages.append(message.astext()) if message["level"] > 1 else None
    )
    parser.parse(text, document)
    messages.extend(
        f"end the paragraph before this with ::, to keep its lines: {node.astext()}"
        for node in document.findall(docutils.nodes.block_quote)
    )
    return messages


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_are_restructuredtext(module: str) -> None:
    documented = {module: MODULES[module]}
    documented |= {name: value for name, (value, _) in of_module(module).items()}
    problems = {
        name: complaints("\n\n".join(texts(value.__doc__ or "")))
        for name, value in documented.items()
    }
    assert not {name: each for name, each in problems.items() if each}
