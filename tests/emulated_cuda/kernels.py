"""CUDA kernels as C++: built by g++, described by their own types, run thread after thread."""

import ctypes
import functools
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from . import cupy_private
from .errors import FailedAssertion, KernelFault
from .float64 import functions_using_double
from .libraries import opened
from .toolchain import INCLUDE, CompilationError, build, leading_includes

FLAGS = (
    "-std=c++20",
    "-Og",  # quickest to compile
    "-ffp-contract=off",  # a*b+c rounds twice, as NumPy's does (nvcc would fuse it)
    "-fno-strict-aliasing",
    "-fwhole-program",  # so that a kernel named like a C function ("step", "index") calls itself
    "-nostdlib",  # linking with libraries takes as long as compiling; `launcher` loads them once
    "-fmax-errors=5",
    "-w",
)

NEEDS_FIBERS = re.compile(r"\b(__sync\w+|__shared__|__shfl\w*|__ballot\w*|__(any|all)_sync)\b")
COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+([\w<>]+)\s*\(")
TEMPLATE = re.compile(r"template\s*<[^;{}]*>\s*$")
DYNAMIC_SHARED = re.compile(r"extern\s+__shared__\s+([\w\s:<>]*?[\w>])\s+(\w+)\s*\[\s*\]\s*;")

ASSERTION = 2
OUTCOMES = {
    1: "a barrier that only some threads of the block (or warp) reach: on a GPU this hangs",
    ASSERTION: "a device-side assert failed",
    3: "__trap() was called",
}


class _Parameter(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("kind", "type", "item", "ndim", "bytes")]


class _Grid(ctypes.Structure):
    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_size_t),
        ("reversed", ctypes.c_int),
    ]


_reversed = False


@contextmanager
def reversed_threads() -> Iterator[None]:
    """Run blocks, and the threads of a block, from last to first inside the ``with`` block.

    A kernel whose result changes has a race: it relies on the order of its threads.
    """
    global _reversed
    before, _reversed = _reversed, True
    try:
        yield
    finally:
        _reversed = before


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel, described by its C++ type."""

    kind: str  # "p" pointer, "c" pointer to const, "a" CuPy array, "v" value
    type: str  # of an element: "f" floating point, "i" integer, "o" other
    item: int  # bytes of an element
    ndim: int  # dimensions of a CuPy array
    length: int  # bytes of the parameter itself

    def region(self, raw: bytes) -> tuple[int, int] | None:
        """(address, bytes) of the device memory that the argument may access, or None.

        A pointer has no extent, so it counts as one element.
        """
        if self.kind == "v":
            return None
        address = int.from_bytes(raw[:8], "little")
        if self.kind in "pc":
            return (address, self.item) if address else None
        words = memoryview(raw).cast("q")  # data, size, shape[ndim], strides[ndim]
        shape, strides = words[2 : 2 + self.ndim], words[2 + self.ndim : 2 + 2 * self.ndim]
        if words[1] == 0 or 0 in shape:
            return None
        reach = [(n - 1) * step for n, step in zip(shape, strides, strict=True)]
        low = sum(r for r in reach if r < 0)
        high = sum(r for r in reach if r > 0)
        return address + low, high - low + self.item


@dataclass(frozen=True)
class Source:
    text: str
    options: tuple[str, ...]
    name_expressions: tuple[str, ...]


_sources: dict[Source, str] = {}  # -> path of the build, in the order of first use


def sources() -> list[Source]:
    return list(_sources)


class Kernel:
    def __init__(self, library: ctypes.CDLL, symbol: str, name: str, computes_in_double: bool):
        self.name = name
        count = ctypes.c_int.in_dll(library, f"{symbol}_count").value
        table = ctypes.c_void_p.in_dll(library, f"{symbol}_parameters").value
        described = (_Parameter * count).from_address(table) if table and count else ()
        self.parameters = [
            Parameter(chr(p.kind), chr(p.type), p.item, p.ndim, p.bytes) for p in described
        ]
        self.float64 = computes_in_double or any(
            p.type == "f" and p.item == 8 for p in self.parameters
        )
        self._run = getattr(library, f"{symbol}_run")
        self._run.restype = ctypes.c_int
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]

    def read_arguments(self, address: int) -> list[bytes]:
        count = len(self.parameters)
        if count == 0:
            return []
        pointers = (ctypes.c_void_p * count).from_address(address)
        return [
            ctypes.string_at(pointer, p.length)
            for pointer, p in zip(pointers, self.parameters, strict=True)
        ]

    def run(
        self,
        arguments: list[bytes],
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
    ) -> None:
        buffers = [
            ctypes.create_string_buffer(raw, (len(raw) + 15) // 16 * 16) for raw in arguments
        ]
        table = (ctypes.c_void_p * max(len(buffers), 1))(*map(ctypes.addressof, buffers))
        sizes = ((ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block))
        launch = _Grid(*sizes, shared_bytes, _reversed)
        outcome = self._run(table, ctypes.byref(launch))
        if outcome:
            kind = FailedAssertion if outcome == ASSERTION else KernelFault
            raise kind(f"kernel {self.name}: {OUTCOMES[outcome]}")


@functools.cache
def launcher() -> ctypes.CDLL:
    """Load what runs grids, and the libraries that kernels need."""
    ctypes.CDLL("libstdc++.so.6", ctypes.RTLD_GLOBAL)
    # Fortified, longjmp refuses to switch stacks.
    return opened("launch.cpp", "libemulated_launch.so", f"-I{INCLUDE}", "-U_FORTIFY_SOURCE")


class Module:
    def __init__(self, path: str, symbols: dict[str, str], using_double: set[str]):
        launcher()
        self.library = ctypes.PyDLL(path)  # keeps the GIL: the shim's threadIdx is one per process
        self.symbols = symbols
        self.using_double = using_double

    def kernel(self, name: str) -> Kernel | None:
        symbol = self.symbols.get(name)
        if symbol is None:
            return None
        return Kernel(self.library, symbol, name, f"{symbol}_run" in self.using_double)


_images: dict[bytes, Module] = {}


def module_of(image: bytes) -> Module | None:
    return _images.get(image)


def _kernel_names(text: str) -> list[str]:
    return [m[1] for m in KERNEL.finditer(text) if not _is_template(text, m.start())]


def _is_template(text: str, position: int) -> bool:
    start = max(text.rfind(c, 0, position) for c in ";}")
    return TEMPLATE.search(text[start + 1 : position].replace('extern "C"', "")) is not None


def _translate(source: str, symbols: dict[str, str]) -> tuple[str, str]:
    """The C++ text (source and one entry point for each kernel), and the header before it."""
    text = DYNAMIC_SHARED.sub(
        r"static \1* const \2 = reinterpret_cast<\1*>(emulated::dynamic_shared);", source
    )
    head = '#include "shim.h"\n'
    if NEEDS_FIBERS.search(text):
        head += '#define EMULATED_FIBERS 1\n#include "fibers.h"\n'
    tail = "".join(f"EMULATED_KERNEL({s}, {expression})\n" for expression, s in symbols.items())
    body = f'#line 1 "kernel.cu"\n{text}\n#line 1 "entry.cpp"\n{tail}'
    return body, f'{head}#include "entry.h"\n{leading_includes(source)}'


def compile_source(
    source: str, options: tuple[str, ...], name_expressions: tuple[str, ...]
) -> tuple[bytes, dict[str, str]]:
    """Build a CUDA source; returns its image and the map from name expressions to kernel names."""
    bare = COMMENTS.sub(" ", source)
    names = list(name_expressions) or list(dict.fromkeys(_kernel_names(bare)))
    symbols = {name: f"emulated_kernel_{n}" for n, name in zip(itertools.count(), names)}
    passed = tuple(o for o in options if o.startswith(("-D", "-I", "-U")))
    flags = (*FLAGS, f"-I{INCLUDE}", *passed, f"-I{cupy_private.header_folder()}")
    try:
        text, header = _translate(source, symbols)
        path, listing = build(text, flags, header)
    except CompilationError as error:
        raise cupy_private.compile_exception(str(error), source, options) from None
    image = str(path).encode()
    _sources[Source(source, options, name_expressions)] = str(path)
    if image not in _images:
        entries = [f"{symbol}_run" for symbol in symbols.values()]
        _images[image] = Module(str(path), symbols, functions_using_double(listing, entries))
    return image, {name: name for name in name_expressions}
