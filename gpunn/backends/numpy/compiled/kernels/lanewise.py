"""Formulas that kernels compute lane by lane, for blocks of numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.arithmetic import Number

__all__ = ["lanewise"]


def lanewise(formula: Callable[..., Number]) -> Any:
    """Return a function of blocks for kernels, from a formula of `Number`s."""

    def instructions(context: Any, *blocks: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return formula(*(Number(builder, argument) for argument in arguments)).value

        return blocks[0](*blocks), generate

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += inspect.signature(formula).parameters.values()
    # numba looks at the number of parameters.
    instructions.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    instructions.__name__ = formula.__name__
    return intrinsic(instructions)
