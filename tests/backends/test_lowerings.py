"""Check every engine's lowerings by reading their source: this needs neither numba nor CuPy."""

import ast
import inspect
from pathlib import Path

import pytest

import gpunn.backends
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import OPERATION_NAMES, Operations
from gpunn.backends.recording import Arguments, Operation, arguments_of

FOLDER = Path(gpunn.backends.__file__).parent
PARAMETERS = {
    name: [*inspect.signature(getattr(Operations, name).definition).parameters][1:]
    for name in OPERATION_NAMES
}
ENGINES = {
    "numpy": ["numpy/lowerings.py"],
    "compiled": sorted(str(path) for path in (FOLDER / "numpy/compiled/lowerings").glob("*.py")),
    "cuda": sorted(str(path) for path in (FOLDER / "cupy/kernels").glob("*.py")),
}
"""Files of functions that lowerings consist of; CUDA also has a table."""

CUDA_LOWERINGS = "cupy/lowerings.py"
ADDED = {"activation": "f", "optimizer": "rule"}
"""What CUDA's lowerings add for a parameter: the statements of a kernel."""


def parsed(file):
    return ast.parse((FOLDER / file).read_text(encoding="utf-8")).body


def functions_of(engine):
    tops = [top for file in ENGINES[engine] for top in parsed(file)]
    nodes = [node for top in tops for node in (top, *getattr(top, "body", ()))]
    return {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}


def read_by(node, functions):
    """Return the attributes of `op` that code reads, including functions it passes `op` to."""
    attributes = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "op":
            attributes.add(each.attr)
        if isinstance(each, ast.Call):
            passed = [ast.unparse(one) for one in each.args]
            if any(one == "op" or one.startswith("op.replace(") for one in passed):
                # f(op), self.f(op), module.f(op), or partial(f, op)
                names = {one.rpartition(".")[2] for one in (ast.unparse(each.func), passed[0])}
                for name in names & functions.keys():
                    # A method may call the base class's method of the same name.
                    others = {key: each for key, each in functions.items() if key != name}
                    attributes |= read_by(functions[name], others)
    return attributes - {"arrays", "replace"}


def cuda_lowerings():
    tops = parsed(CUDA_LOWERINGS)
    conditions = {top.name: top for top in tops if isinstance(top, ast.FunctionDef)}
    functions = functions_of("cuda") | conditions
    (table,) = (top.body for top in tops if isinstance(top, ast.ClassDef))
    for each in table:
        if isinstance(each, ast.FunctionDef) and each.name in PARAMETERS:
            assert ast.unparse(each.args) == "self, op: Arguments", each.name
            yield each.name, read_by(each, functions)
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Name):
            yield each.targets[0].id, set()  # the lowering of another operation, which is checked
        elif isinstance(each, ast.Assign) and isinstance(each.value, ast.Call):
            what, *more = each.value.args
            named = [ast.unparse(one).rpartition(".")[2] for one in (what, *more)]
            read = [read_by(functions[name], functions) for name in named if name in functions]
            read += [read_by(one, functions) for one in more]
            if ast.unparse(each.value.func) == "direct":
                read.append(set(more[0].value.split()))
            yield each.targets[0].id, set().union(*read)


def lowerings_of(engine):
    functions = functions_of(engine)
    for name, lowering in functions.items():
        if name in PARAMETERS:
            assert ast.unparse(lowering.args) == "self, op: Arguments", name
            yield name, read_by(lowering, functions)


@pytest.mark.parametrize("engine", ENGINES)
def test_lowerings_read_nothing_but_parameters_of_their_operation(engine):
    lowerings = dict(cuda_lowerings() if engine == "cuda" else lowerings_of(engine))
    assert len(lowerings) > 8
    assert lowerings.keys() <= PARAMETERS.keys()
    for name, read in lowerings.items():
        added = {ADDED[each] for each in ADDED.keys() & PARAMETERS[name] if engine == "cuda"}
        assert read <= added.union(PARAMETERS[name]), name


def test_cuda_has_a_lowering_of_each_operation_but_a_few():
    without = {"fill", "accumulate", "increment", "count_pass", "append"}
    without |= {"group_dense", "group_dense_gradient"}  # these consist of others
    without |= {"sum_of_squares", "clip_to"}  # for several ranks
    without |= {"column_moments", "combine_moments", "running_average"}
    without |= {"batch_norm_of", "batch_norm_sums", "batch_norm_input_gradient"}
    assert {name for name, _ in cuda_lowerings()} == PARAMETERS.keys() - without


BACKEND = NumpyBackend()


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((1, 2, 3), {}, (1, 2, 3, False, False)),
        ((1,), {"out": 3, "b": 2, "transpose_b": True}, (1, 2, 3, False, True)),
    ],
)
def test_arguments_have_the_names_of_parameters(args, kwargs, expected):
    actual = arguments_of(BACKEND, Operation("matmul", args, kwargs))
    names = "a", "b", "out", "transpose_a", "transpose_b"
    assert actual == Arguments(**dict(zip(names, expected, strict=True)))


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((1, 2), {}, "matmul: missing a required argument: 'out'"),
        ((1, 2, 3, True), {}, "matmul: too many positional arguments"),
        ((1, 2, 3), {"transposed": True}, "unexpected keyword argument 'transposed'"),
    ],
)
def test_arguments_that_do_not_match_the_definition_are_refused(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        arguments_of(BACKEND, Operation("matmul", args, kwargs))
