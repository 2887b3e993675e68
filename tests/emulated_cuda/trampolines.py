"""C functions that replace entries of a ``__pyx_capi__`` table and call Python.

ctypes callbacks only print an exception and continue. These functions pass it to CuPy, so a CUDA
error is raised where CuPy would raise it. They are generated from the C signatures in the table.
"""

import atexit
import ctypes
import re
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from . import cupy_private
from .errors import UnsupportedError
from .toolchain import build

PRELUDE = """\
#include <cstddef>
#include <cstdint>
struct PyObject { void* unknown; };
extern "C" {
PyObject* PyObject_CallFunction(PyObject*, const char*, ...);
long long PyLong_AsLongLong(PyObject*);
double PyFloat_AsDouble(PyObject*);
PyObject* PyErr_Occurred();
void Py_IncRef(PyObject*);
void Py_DecRef(PyObject*);
extern PyObject _Py_NoneStruct;
}
// Set when the interpreter shuts down: CuPy frees memory even then, when Python cannot answer.
static bool closed = false;
"""

# C type -> (format of PyObject_CallFunction, the C type which that format reads)
FORMATS = {
    "int": ("i", "int"),
    "CUdevice": ("i", "int"),
    "cudaMemcpyKind": ("i", "int"),
    "unsigned int": ("I", "unsigned int"),
    "size_t": ("n", "ptrdiff_t"),
    "intptr_t": ("n", "ptrdiff_t"),
    "uintmax_t": ("n", "ptrdiff_t"),
}

_capsule_new = ctypes.pythonapi.PyCapsule_New
_capsule_new.restype = ctypes.py_object
_capsule_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_capsule_name = ctypes.pythonapi.PyCapsule_GetName
_capsule_name.restype = ctypes.c_char_p
_capsule_name.argtypes = [ctypes.py_object]

_kept_alive: list[Any] = []  # capsules point to these names, tables and functions


def _is_object(kind: str) -> bool:
    return kind == "PyObject *" or (kind.startswith("struct __pyx_obj") and kind.endswith("*"))


def _trampoline(index: int, name: str, signature: str) -> str | None:
    """C++ text of one function, or None for a variable or a signature with C structs."""
    match = re.fullmatch(r"([^(]+?)\s*\((.*)\)", signature)
    if match is None:
        return None
    result, parameters = match.group(1), [p.strip() for p in match.group(2).split(",")]
    declared, passed, formats = [], [], ""
    for position, parameter in enumerate(p for p in parameters if p != "void"):
        kind = parameter.replace("__pyx_skip_dispatch", "").strip()
        if parameter.endswith("__pyx_skip_dispatch"):
            declared.append("int")
        elif "__pyx_opt_args" in parameter:  # struct {int given; int first; ...}
            declared.append(f"int* a{position}")
            passed.append(f"(a{position} && a{position}[0] ? a{position}[1] : -1)")
            formats += "i"
        elif _is_object(kind):
            declared.append(f"PyObject* a{position}")
            passed.append(f"a{position}")
            formats += "O"
        elif kind in FORMATS:
            code, read = FORMATS[kind]
            declared.append(f"{read} a{position}")
            passed.append(f"a{position}")
            formats += code
        else:
            return None
    call = ", ".join([f"handlers[{index}]", f'"({formats})"', *passed])
    head = f"({', '.join(declared)})"
    if _is_object(result):
        return (
            f"static PyObject* t{index}{head} {{\n"
            f"  if (closed) {{ Py_IncRef(&_Py_NoneStruct); return &_Py_NoneStruct; }}\n"
            f"  return PyObject_CallFunction({call});\n}}\n"
        )
    failed = cupy_private.ERROR_VALUES_BY_NAME.get(name, cupy_private.ERROR_VALUES.get(result))
    if failed is None and result == "size_t":
        failed = "0"
    if failed is None:
        return None
    convert = "PyFloat_AsDouble" if result == "float" else "PyLong_AsLongLong"
    return (
        f"static {result} t{index}{head} {{\n"
        f"  if (closed) return 0;\n"
        f"  PyObject* answer = PyObject_CallFunction({call});\n"
        f"  if (!answer) return ({result}){failed};\n"
        f"  auto value = {convert}(answer);\n"
        f"  Py_DecRef(answer);\n"
        f"  return PyErr_Occurred() ? ({result}){failed} : ({result})value;\n}}\n"
    )


def _missing(module: str, name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise UnsupportedError(f"emulated_cuda has no {module}.{name}")

    return call


def replace(module: ModuleType, handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Swap the C entry points of ``module`` for Python callables of the same names.

    A function without a handler, other than those that need no device, raises `UnsupportedError`.
    """
    table = module.__pyx_capi__
    unknown = set(handlers) - set(table) - set(dir(module))
    if unknown:
        raise UnsupportedError(f"{module.__name__} has no {', '.join(sorted(unknown))}")
    short = module.__name__.rpartition(".")[2]
    entries: list[tuple[str, Callable[..., Any]]] = []
    functions = ""
    for name in sorted(set(table) - cupy_private.KEPT):
        text = _trampoline(len(entries), name, _capsule_name(table[name]).decode())
        if text is not None:
            entries.append((name, handlers.get(name) or _missing(short, name)))
            functions += text
    addresses = "".join(f"  (void*)t{index},\n" for index in range(len(entries)))
    source = (
        f"{PRELUDE}static PyObject* handlers[{len(entries)}];\n{functions}"
        f'extern "C" void* entries[] = {{\n{addresses}}};\n'
        'extern "C" void set_handler(int i, PyObject* f) { handlers[i] = f; }\n'
        'extern "C" void close_handlers() { closed = true; }\n'
    )
    path, _ = build(source, ("-std=c++17", "-O1", "-w"))
    library = ctypes.PyDLL(str(path))
    atexit.register(library.close_handlers)
    library.set_handler.argtypes = [ctypes.c_int, ctypes.py_object]
    library.set_handler.restype = None
    places = (ctypes.c_void_p * len(entries)).in_dll(library, "entries")
    for index, (name, function) in enumerate(entries):
        library.set_handler(index, function)
        signature = _capsule_name(table[name])
        _kept_alive.extend((function, signature, library))
        table[name] = _capsule_new(places[index], signature, None)
    for name, function in (*entries, *handlers.items()):
        if hasattr(module, name):  # the same function as Python callers see it
            setattr(module, name, function)
