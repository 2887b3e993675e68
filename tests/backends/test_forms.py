"""What can be said of every engine's forms by reading them: this needs neither numba nor CuPy."""

import ast
import inspect
from pathlib import Path

import pytest

import gpunn.backends
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import Operations
from gpunn.backends.recording import Arguments, Operation, arguments_of, is_operation

FOLDER = Path(gpunn.backends.__file__).parent
PARAMETERS = {
    name: [*inspect.signature(member.definition).parameters][1:]
    for name, member in vars(Operations).items()
    if is_operation(member)
}
ENGINES = {
    "numpy": ["numpy/bind.py"],
    "compiled": sorted(str(path) for path in (FOLDER / "numpy/compiled/forms").glob("*.py")),
    "cuda": ["cupy/launches.py"],
}


def functions_of(engine):
    """Return the functions and methods of an engine's forms by name."""
    trees = [ast.parse((FOLDER / file).read_text(encoding="utf-8")) for file in ENGINES[engine]]
    nodes = [
        node for tree in trees for top in tree.body for node in (top, *getattr(top, "body", ()))
    ]
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def read_by(function, functions):
    """Return what a function reads of `ask`, by itself and in functions that it gives it to."""
    attributes = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ask":
            attributes.add(node.attr)
        if isinstance(node, ast.Call) and node.args:
            given, name = ast.unparse(node.args[0]), ast.unparse(node.func).removeprefix("self.")
            if (given == "ask" or given.startswith("ask.but(")) and name in functions:
                attributes |= read_by(functions[name], functions)
    return attributes - {"arrays", "but"}


@pytest.mark.parametrize("engine", ENGINES)
def test_forms_read_nothing_but_parameters_of_their_operation(engine):
    functions = functions_of(engine)
    forms = {name: each for name, each in functions.items() if name in PARAMETERS}
    assert len(forms) > 10
    for name, form in forms.items():
        assert ast.unparse(form.args) == "self, ask: Arguments", name
        assert read_by(form, functions) <= set(PARAMETERS[name]), name


BACKEND = NumpyBackend()


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        ((1, 2, 3), {}, (1, 2, 3, False, False)),
        ((1,), {"out": 3, "b": 2, "transpose_b": True}, (1, 2, 3, False, True)),
    ],
)
def test_arguments_are_known_by_their_parameters(given, named, expected):
    asked = arguments_of(BACKEND, Operation("matmul", given, named))
    names = "a", "b", "out", "transpose_a", "transpose_b"
    assert asked == Arguments(**dict(zip(names, expected, strict=True)))


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ((1, 2), {}, "missing a required argument: 'out'"),
        ((1, 2, 3, True), {}, "too many positional arguments"),
        ((1, 2, 3), {"transposed": True}, "unexpected keyword argument 'transposed'"),
    ],
)
def test_other_arguments_than_the_definitions_are_refused(given, named, message):
    with pytest.raises(TypeError, match=message):
        arguments_of(BACKEND, Operation("matmul", given, named))
