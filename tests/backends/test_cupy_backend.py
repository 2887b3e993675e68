"""What can be said of the CUDA backend by reading it: this needs neither CuPy nor a GPU."""

import ast
from pathlib import Path

import pytest

import gpunn.backends

FOLDER = Path(gpunn.backends.__file__).parent


def public_methods(file, name):
    """Return the signatures of a class's public methods, as they are written."""
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return {
        method.name: f"({ast.unparse(method.args)}) -> {ast.unparse(method.returns)}"
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    }


BASE = public_methods("base.py", "Backend")
OVERRIDES = public_methods("cupy/backend.py", "CupyBackend")


@pytest.mark.parametrize("method", OVERRIDES)
def test_an_override_has_the_signature_of_the_base(method):
    assert OVERRIDES[method] == BASE[method]


def test_the_usual_operations_are_overridden():
    assert OVERRIDES.keys() >= {
        "activate",
        "activation_gradient",
        "batch_norm",
        "batch_norm_gradient",
        "clip",
        "count_finite",
        "counted_update",
        "dense",
        "dense_gradient",
        "dropout",
        "gather_rows",
        "layer_norm",
        "layer_norm_gradient",
        "loss",
        "matmul",
        "metric",
        "next_batch",
        "normalize",
        "rescale",
        "select",
        "sum_weights",
        "update",
    }


def test_nothing_waits_for_the_device_inside_an_operation():
    """No conversion of an array to a Python number, and no copy to the host."""
    files = [FOLDER / "cupy/backend.py", *(FOLDER / "cupy/kernels").glob("*.py")]
    allowed = {"free_memory", "to_host", "synchronize"}
    for file in files:
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef) or function.name in allowed:
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call):
                    called = ast.unparse(call.func)
                    waits = called in {"float", "int", "bool", "cupy.asnumpy"} or called.endswith(
                        (".item", ".get", ".tolist", ".synchronize")
                    )
                    known = called in {"metrics.SCORES.get", "self._buffers.get"}
                    assert not waits or known, f"{file.name}, {function.name}: {called}"
