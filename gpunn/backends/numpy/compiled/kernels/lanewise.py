"""Functions that apply formulas to each lane (number) of a block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from numba import types
from numba.extending import intrinsic

from gpunn.backends.numpy.compiled.kernels.arithmetic import Number
from gpunn.backends.numpy.compiled.kernels.vectors import I64


def lanewise(formula: Callable[..., Number]) -> Any:
    def instructions(context: Any, *blocks: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return formula(*(Number(builder, argument) for argument in arguments)).value

        return blocks[0](*blocks), generate

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += inspect.signature(formula).parameters.values()
    # numba reads the number of parameters.
    instructions.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    instructions.__name__ = formula.__name__
    return intrinsic(instructions)


def one_of(formulas: Sequence[Callable[..., Sequence[Number]]], results: int) -> Any:
    @intrinsic
    def apply(context: Any, index: Any, first: Any, second: Any, third: Any) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            index, *values = arguments
            numbers = [Number(builder, value) for value in values]
            start, end = builder.block, builder.append_basic_block("end")
            cases = builder.switch(index, end)
            with builder.goto_block(end):
                chosen = [builder.phi(number.kind) for number in numbers[:results]]
            for phi, number in zip(chosen, numbers, strict=False):
                phi.add_incoming(number.value, start)
            for number_of_case, formula in enumerate(formulas):
                case = builder.append_basic_block("case")
                cases.add_case(I64(number_of_case), case)
                builder.position_at_end(case)
                for phi, result in zip(chosen, formula(*numbers), strict=True):
                    phi.add_incoming(result.value, builder.block)
                builder.branch(end)
            builder.position_at_end(end)
            return target.make_tuple(builder, signature.return_type, chosen)

        return types.UniTuple(first, results)(types.int64, first, first, first), generate

    return apply
