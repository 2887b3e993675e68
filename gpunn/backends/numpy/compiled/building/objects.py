"""Kernels as object files: what numba makes of the sources, optimised and emitted by LLVM.

numba compiles for the process that it runs in. Here it only translates Python to LLVM's
instructions. They are optimised once, when a kernel and all that it calls are one module, and
emitted for the target's processor. What numba adds for calls from Python is left out.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime.context import NRTContext

from gpunn.backends.numpy.compiled.interface import DTYPES, symbol
from gpunn.backends.numpy.compiled.kernels.vectors import I64, TARGET

__all__ = ["parts"]

GLIBC = {"x86_64": "GLIBC_2.2.5", "aarch64": "GLIBC_2.17"}
"""The first version of glibc for an architecture. Bound to its functions rather than to those of
this machine's version, a library runs wherever Python does."""

C_FUNCTIONS = ("memcpy", "memmove", "memset")
"""What LLVM calls in place of instructions of its own. Kernels call nothing else: of one version of
the C library to the next its mathematics gives other bits."""


Symbols = dict[str, tuple[Any, ...]]
"""What functions are called in a library, and the types of their arguments."""


class TranslatedFunctions(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """Functions as LLVM's instructions, of which no machine code is made.

    numba would link all that a function calls into its module, and so on up to the kernel. Here
    each module is linked once, when the object file is made.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        """Leave all that numba does then to `emit`."""
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def called(self) -> Iterator[TranslatedFunctions]:
        """Yield the libraries of the functions that these call, and those that they call."""
        seen = {self}
        left = [self]
        while left:
            for library in left.pop()._linking_libraries:
                if library not in seen:
                    seen.add(library)
                    left.append(library)
                    yield library

    def emit(self, exported: Collection[str]) -> bytes:
        """Return an object file, in which nothing is visible but what is `exported`."""
        module = self._final_module
        for library in self.called():
            module.link_in(library._final_module, preserve=True)
        for one in (*module.functions, *module.global_variables):
            if not one.is_declaration and one.name not in exported:
                one.linkage = "internal"
        module.verify()
        passes, builder = self._codegen._module_pass_manager()
        passes.run(module, builder)
        bind_to_first_glibc(module)
        return bytes(self._codegen._tm.emit_object(module))


class Translator(JITCPUCodegen):  # type: ignore[misc]
    """What numba asks for code, for the processor of the target."""

    _library_class = TranslatedFunctions

    def _customize_tm_options(self, options: dict[str, Any]) -> None:
        options.update(cpu=TARGET.cpu, features=TARGET.features, reloc="pic", codemodel="small")

    def _customize_tm_features(self) -> str:
        return TARGET.features

    def _add_module(self, module: Any) -> None:
        """Keep it from numba's engine, which would make machine code of it."""

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: only functions that call Python need it."""


class UncountedReferences(NRTContext):  # type: ignore[misc]
    """What numba asks for counts of references to memory: there are none.

    All arrays in kernels are views of memory that Python has allocated.
    """

    def incref(self, builder: Any, kind: Any, value: Any) -> None:
        """Do nothing."""

    def decref(self, builder: Any, kind: Any, value: Any) -> None:
        """Do nothing."""


def bind_to_first_glibc(module: Any) -> None:
    """Name the versions of the C library's functions, where that is glibc."""
    architecture, *_, system = module.triple.split("-")
    if system != "gnu" or architecture not in GLIBC:
        return
    module.link_in(
        llvm.parse_assembly(
            "\n".join(
                f'module asm ".symver {name}, {name}@{GLIBC[architecture]}"' for name in C_FUNCTIONS
            )
        )
    )


def parts(only: Collection[str] = ()) -> dict[str, Callable[[], bytes]]:
    """Return functions that make the object files, by name; first those that take longest.

    `only` are the kernels to make; all if there are none.
    """
    from gpunn.backends.numpy.compiled import kernels
    from gpunn.backends.numpy.compiled.kernels.kernel import ENTRIES, KERNELS

    llvm.initialize_native_asmparser()
    context = cpu_target.target_context
    context._internal_codegen = Translator("gpunn")
    context.nrt = UncountedReferences(context, enabled=True)
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")

    names = sorted(set(KERNELS) & set(only) or KERNELS, key=lambda name: (name != "product", name))
    return {
        **{name: partial(object_of, KERNELS[name], kernel_symbols) for name in names},
        **{name: partial(object_of, each, entry_symbol) for name, each in ENTRIES.items()},
        "tiles": tiles_object,
    }


def kernel_symbols(function: Any) -> Symbols:
    """Return what a kernel is called for each type of numbers, and its arguments."""
    integer = types.int64
    return {
        symbol(function.__name__, dtype): (
            types.CPointer(getattr(types, dtype)),
            types.CPointer(integer),
            integer,
            integer,
        )
        for dtype in DTYPES
    }


def entry_symbol(function: Any) -> Symbols:
    """Return what a function that Python calls is called, and its arguments."""
    parameters = inspect.signature(function.py_func).parameters
    return {symbol(function.__name__): (types.int64,) * len(parameters)}


@global_compiler_lock
def object_of(function: Any, symbols_of: Callable[[Any], Symbols]) -> bytes:
    """Return the object file of a function of Python, with a symbol for each set of arguments.

    What is exported returns an integer, 0 if the function returns nothing.
    """
    symbols = symbols_of(function)
    context = cpu_target.target_context
    library = context.codegen().create_library(function.__name__)
    module = context.create_module(function.__name__)
    for name, arguments in symbols.items():
        function.compile(arguments)
        translated = function.overloads[arguments]
        library.add_linking_library(translated.library)
        add_export(module, name, translated.fndesc)
    library.add_ir_module(module)
    library.finalize()
    return library.emit(symbols)


def add_export(module: ir.Module, name: str, descriptor: Any) -> None:
    """Define a function that calls one of numba's, whose convention Python's side doesn't know."""
    context = cpu_target.target_context
    convention, kinds = context.call_conv, descriptor.argtypes
    arguments = [context.get_value_type(each) for each in kinds]
    function = ir.Function(module, ir.FunctionType(I64, arguments), name)
    builder = ir.IRBuilder(function.append_basic_block())
    callee = ir.Function(
        module, convention.get_function_type(descriptor.restype, kinds), descriptor.llvm_func_name
    )
    _, value = convention.call_function(builder, callee, descriptor.restype, kinds, function.args)
    builder.ret(I64(0) if descriptor.restype is types.none else value)


@global_compiler_lock
def tiles_object() -> bytes:
    """Return the object file with the tiles of all products."""
    from gpunn.backends.numpy.compiled.kernels.tiles import define_tables

    context = cpu_target.target_context
    library = context.codegen().create_library("tiles")
    module = context.create_module("tiles")
    tables = define_tables(module)
    library.add_ir_module(module)
    library.finalize()
    for name in tables:
        library._final_module.get_global_variable(name).visibility = "hidden"
    return library.emit(tables)
