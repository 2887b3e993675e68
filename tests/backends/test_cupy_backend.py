"""Check the CUDA backend by reading its source: this needs neither CuPy nor a GPU."""

import ast
from pathlib import Path

import pytest

import gpunn.backends

FOLDER = Path(gpunn.backends.__file__).parent


def public_methods(file, name):
    tree = ast.parse((FOLDER / file).read_text(encoding="utf-8"))
    (cls,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return {
        method.name: f"({ast.unparse(method.args)}) -> {ast.unparse(method.returns)}"
        for method in cls.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    }


BASE = {
    **public_methods("operations.py", "Operations"),
    **public_methods("base.py", "Backend"),
}
OVERRIDES = public_methods("cupy/backend.py", "CupyBackend")


@pytest.mark.parametrize("method", OVERRIDES.keys() - {"use", "fused"})
def test_an_override_has_the_signature_of_the_base(method):
    assert OVERRIDES[method] == BASE[method]


def test_nothing_waits_for_the_device_inside_an_operation():
    """No code converts an array to a Python number or copies it to the host."""
    files = [FOLDER / "cupy/lowerings.py", *(FOLDER / "cupy/kernels").glob("*.py")]
    for file in files:
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call):
                    called = ast.unparse(call.func)
                    waits = called in {"float", "int", "bool", "cupy.asnumpy"} or called.endswith(
                        (".item", ".get", ".tolist", ".synchronize")
                    )
                    is_table = called.removesuffix(".get").rpartition(".")[2].isupper()  # a table
                    assert not waits or is_table, f"{file.name}, {function.name}: {called}"
