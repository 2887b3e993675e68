"""Networks of 8-bit integers as C function calls."""

from __future__ import annotations

import math

import numpy as np

from gpunn.interchange.predictor.c_calls import CNetwork
from gpunn.interchange.predictor.c_text import Functions, names_in_c, number_source
from gpunn.interchange.predictor.int8 import SIGNED, Int8Network


def int8_network(network: Int8Network, functions: Functions) -> CNetwork:
    # The steps alternate between two buffers.
    arrays = {"input factors": network.factors, "input shifts": network.shifts}
    offset = network.least - SIGNED
    for operation in network.operations:
        step, window = operation.step, np.ravel(operation.window)
        more = (step.input_shape[-1], step.output_shape[-1], operation.groups, offset)
        offset = operation.least - SIGNED
        sizes = [*window, *more, offset, operation.shift]
        arrays[f"{step.label}.sizes"] = np.array(sizes, np.int32)
        is_last = operation is network.operations[-1] and network.ends_in_sums
        factors = operation.scales.astype(network.model.dtype)
        arrays[f"{step.label}.factors"] = factors if is_last else operation.multipliers
        if operation.weights.size:
            arrays[f"{step.label}.weights"] = operation.weights.T.astype(np.int8)
            arrays[f"{step.label}.biases"] = operation.biases.astype(np.int32)
    names = names_in_c(arrays, f"{functions.prefix}_array")
    size = math.prod(network.model.input_shape)
    given = f"{len(network.factors)}, {names['input factors']}, {names['input shifts']}"
    calls, buffers = [f"{functions.name('quantize')}(input, {size}, {given}, b0);"], [size, 0]
    for number, operation in enumerate(network.operations, 1):
        name = "convolution" if operation.weights.size else "pool"
        to = f"b{number % 2}"
        if number == len(network.operations) and network.ends_in_sums:
            name, to = "last_convolution", "output"
        else:
            size = math.prod(operation.step.output_shape)
            buffers[number % 2] = max(buffers[number % 2], size)
        own = (each for each in arrays if each.rpartition(".")[0] == operation.step.label)
        given = ", ".join(names[each] for each in own)
        calls.append(f"{functions.name(name)}(b{1 - number % 2}, {given}, {to});")
    if not network.ends_in_sums:
        scale = number_source(network.scale, functions.real)
        calls.append(f"{functions.name('dequantize')}({to}, {size}, {offset}, {scale}, output);")
    check = f"typedef char {functions.prefix}_needs_int_of_32_bits[sizeof(int) < 4 ? -1 : 1];\n"
    used = [each for each in buffers if each]
    return CNetwork(arrays, [check, *functions.used()], calls, used, "signed char")
