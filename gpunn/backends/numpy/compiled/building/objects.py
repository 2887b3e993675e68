"""Compile kernels to object files, with numba and LLVM.

Here, numba only translates Python to LLVM instructions. A kernel and all functions that it calls
form one module, which LLVM then optimizes once and compiles for the target's processor. The object
files omit the code that numba would add for calls from Python.
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

GLIBC = {"x86_64": "GLIBC_2.2.5", "aarch64": "GLIBC_2.17"}
"""The first version of glibc for each architecture. A library that only uses this version's
functions also runs on systems with an older glibc than this machine's."""

C_FUNCTIONS = ("memcpy", "memmove", "memset")
"""Functions of the C library that LLVM calls instead of emitting instructions. Kernels call no
mathematical functions of the C library, because their results differ between versions."""


SLOW = ("expression", "product")
"""Kernels whose compilation by LLVM takes longest."""

SMALL = (
    *("batch_norm", "batch_norm_gradient", "column_moments", "column_sums"),
    "depthwise",
    "depthwise_weights",
    "max_pool_gradient",
    "multiply_channels",
    "pool",
    "spread",
)
"""Kernels with nested short loops. If LLVM neither unrolls these loops nor copies them for each
case of a condition, the kernels are faster, and take a quarter of the memory."""

Symbols = dict[str, tuple[Any, ...]]
"""The names of functions in a library, and the types of their arguments."""


class TranslatedFunctions(JITCodeLibrary):  # type: ignore[misc]  # numba has no types
    """Compiled functions as LLVM instructions, without machine code.

    By default, numba links a function into the module of each caller. This class links each
    function only once, when it writes the object file.
    """

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def called(self) -> Iterator[TranslatedFunctions]:
        seen = {self}
        left = [self]
        while left:
            for library in left.pop()._linking_libraries:
                if library not in seen:
                    seen.add(library)
                    left.append(library)
                    yield library

    def emit(self, exported: Collection[str], small: bool = False) -> bytes:
        module = self._final_module
        for library in self.called():
            module.link_in(library._final_module, preserve=True)
        for one in (*module.functions, *module.global_variables):
            if not one.is_declaration and one.name not in exported:
                one.linkage = "internal"
        for function in module.functions if small else ():
            if not function.is_declaration:
                function.add_function_attribute("optsize")
        module.verify()
        passes, builder = self._codegen._module_pass_manager()
        passes.run(module, builder)
        bind_to_first_glibc(module)
        return bytes(self._codegen._tm.emit_object(module))


class Translator(JITCPUCodegen):  # type: ignore[misc]
    _library_class = TranslatedFunctions

    def _customize_tm_options(self, options: dict[str, Any]) -> None:
        options.update(cpu=TARGET.cpu, features=TARGET.features, reloc="pic", codemodel="small")

    def _customize_tm_features(self) -> str:
        return TARGET.features

    def _add_module(self, module: Any) -> None:
        pass  # numba's engine would compile the module

    def set_env(self, name: str, environment: Any) -> None:
        pass  # only needed for functions that call Python


class UncountedReferences(NRTContext):  # type: ignore[misc]
    """Disables numba's reference counting, because all arrays are views of Python's memory."""

    def incref(self, builder: Any, kind: Any, value: Any) -> None: ...

    decref = incref


def bind_to_first_glibc(module: Any) -> None:
    """Make a module call the C_FUNCTIONS of glibc's first version for the architecture."""
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
    """Map the name of each object file to a function that returns the file's bytes.

    The kernels in `SLOW`, whose compilation takes longest, come first.
    """
    from gpunn.backends.numpy.compiled import kernels
    from gpunn.backends.numpy.compiled.kernels.kernel import ENTRIES, KERNELS
    from gpunn.backends.numpy.compiled.kernels.pipeline import remember_types

    llvm.initialize_native_asmparser()
    context = cpu_target.target_context
    context._internal_codegen = Translator("gpunn")
    context.nrt = UncountedReferences(context, enabled=True)
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")
    remember_types(context)

    names = sorted(set(KERNELS) & set(only) or KERNELS, key=lambda name: (name not in SLOW, name))
    return {
        **{name: partial(object_of, KERNELS[name], kernel_symbols) for name in names},
        **{name: partial(object_of, each, entry_symbol) for name, each in ENTRIES.items()},
        "tiles": tiles_object,
    }


def kernel_symbols(function: Any) -> Symbols:
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
    parameters = inspect.signature(function.py_func).parameters
    return {symbol(function.__name__): (types.int64,) * len(parameters)}


@global_compiler_lock
def object_of(function: Any, symbols_of: Callable[[Any], Symbols]) -> bytes:
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
    return library.emit(symbols, function.__name__ in SMALL)


def add_export(module: ir.Module, name: str, descriptor: Any) -> None:
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
    from gpunn.backends.numpy.compiled.kernels.columns import define_square
    from gpunn.backends.numpy.compiled.kernels.tiles import define_tables

    context = cpu_target.target_context
    library = context.codegen().create_library("tiles")
    module = context.create_module("tiles")
    names = define_tables(module)
    names += [define_square(module, number) for number in (ir.FloatType(), ir.DoubleType())]
    library.add_ir_module(module)
    library.finalize()
    for one in (*library._final_module.functions, *library._final_module.global_variables):
        if one.name in names:
            one.visibility = "hidden"
    return library.emit(names)
