"""The C source of a predictor: a C99 header of static data and functions that needs only math.h."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence

from gpunn.errors import ArgumentError
from gpunn.interchange.expressions.loops import local_numbers
from gpunn.interchange.expressions.names import Printed
from gpunn.interchange.predictor.c_calls import CNetwork, calls_of, store_sizes
from gpunn.interchange.predictor.c_int8 import int8_network
from gpunn.interchange.predictor.c_printer import c_function
from gpunn.interchange.predictor.c_rows import rows_source
from gpunn.interchange.predictor.c_text import (
    Functions,
    array_source,
    names_in_c,
    strings_source,
    wrapped,
)
from gpunn.interchange.predictor.description import check_outputs
from gpunn.interchange.predictor.int8 import Int8Network
from gpunn.interchange.steps import steps_of
from gpunn.network import Sequential
from gpunn.version import __version__

HEAD = """\
/* Predictions of a neural network, in C99; gpunn {version} wrote this file. It needs only math.h,
   allocates no memory, and is thread-safe.

   {prefix}_predict computes {outputs} output(s) from a row of {inputs} finite number(s).
   Parameters take {parameters:,} bytes, and a call takes about {stack:,} bytes of stack. To use
   other memory instead, call {prefix}_predict_with with {buffers} buffer(s). */

#ifndef {guard}_H
#define {guard}_H

#include <math.h>

#define {guard}_INPUTS {inputs}
#define {guard}_OUTPUTS {outputs}
"""

REALS = {"float32": "float", "float64": "double"}

ITEMS = {"float": 4, "double": 8, "signed char": 1}

NAMES = ["class", "class_name", "date", "encode", "predict", "predict_with", "probabilities", "row"]
"""Names, without the prefix, that are reserved for the types and functions of a header."""


def c_source(network: Sequential | Int8Network, prefix: str = "predictor") -> str:
    if not isinstance(prefix, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ArgumentError(
            "prefix: expected a letter, then letters, digits or underscores, because C names begin "
            f"with the prefix; got {prefix!r}. On the command line, the prefix is the name of "
            "the C file; choose another file name"
        )
    model = network.model if isinstance(network, Int8Network) else network
    check_outputs(model)
    functions = Functions("c_functions.h", prefix, REALS[model.dtype])
    if isinstance(network, Int8Network):
        code = int8_network(network, Functions("c_int8.h", prefix, functions.real))
    else:
        code = real_network(model, functions)
    further = decision_sources(model, functions)
    head = HEAD.format(
        version=__version__,
        prefix=prefix,
        guard=prefix.upper(),
        inputs=math.prod(model.input_shape),
        outputs=model.output_shape[0],
        parameters=sum(array.nbytes for array in code.arrays.values()),
        stack=(sum(code.buffers) + code.local_numbers) * ITEMS[code.element],
        buffers=len(code.buffers),
    )
    names = names_in_c(code.arrays, f"{prefix}_array")
    data = [array_source(names[name], array, name) for name, array in code.arrays.items()]
    rows = [] if model.schema is None else rows_source(model.schema, prefix, functions.real)
    parts = [*data, *functions.used(), *code.functions, *rows]
    parts += [predict_source(code, functions), *further]
    return "\n".join([head, *parts, "#endif\n"])


def real_network(model: Sequential, functions: Functions) -> CNetwork:
    steps, prefix, real = steps_of(model), functions.prefix, functions.real
    store_sizes(steps)
    names = names_in_c(steps.arrays, f"{prefix}_array")
    arrays = (name.removeprefix(f"{prefix}_") for name in names.values())
    printed = Printed(
        lambda function, name: c_function(function, f"{prefix}_{name}", real),
        {*functions, *Functions("c_rows.h", prefix, real), *arrays, *NAMES},
    )
    calls, sizes = calls_of(steps, names, functions, printed)
    expressions = [each.expression for each in steps.steps if each.expression is not None]
    local = max(map(local_numbers, expressions), default=0)
    return CNetwork(steps.arrays, [*printed.sources.values()], calls, sizes, real, local)


def predict_source(network: CNetwork, functions: Functions) -> str:
    prefix, real, element = functions.prefix, functions.real, network.element
    guard = prefix.upper()
    rows = [f"const {real} *input", f"{real} *output"]
    buffers = [f"b{number}" for number in range(len(network.buffers))]
    given = ", ".join([*rows, *(f"{element} *{name}" for name in buffers)])
    lines = [
        *(f"#define {guard}_BUFFER_{number} {size}" for number, size in enumerate(network.buffers)),
        "/* The outputs of the network for a row; the buffers have the sizes above. */",
        wrapped(f"static inline void {prefix}_predict_with({given}) {{", 8),
        *(wrapped(f"    {call}", 8) for call in network.calls),
        "}\n",
        "/* The outputs of the network for a row, with buffers on the stack. */",
        f"static inline void {prefix}_predict({', '.join(rows)}) {{",
        *(f"    {element} {name}[{guard}_BUFFER_{name[1:]}];" for name in buffers),
        wrapped(f"    {prefix}_predict_with({', '.join(['input', 'output', *buffers])});", 8),
        "}\n",
    ]
    return "\n".join(lines)


def decision_sources(model: Sequential, functions: Functions) -> list[str]:
    count, activation = model.output_shape[0], model.output_activation
    if activation == "softmax":
        softmax, largest = functions.name("softmax"), functions.name("largest_of")
        sources = [of_probabilities(functions, f"{softmax}(output, {count}, p);")]
        margin = "(double)output[1] - (double)output[0]"
        decision = f"{largest}(output, {count})"
        sources.append(of_classes(functions, decision, margin, model.threshold))
    elif activation == "sigmoid":
        logistic = functions.name("logistic")
        if count > 1:
            return [of_probabilities(functions, f"{logistic}(output, {count}, p);")]
        lines = (f"{logistic}(output, 1, p + 1);", "p[0] = 1 - p[1];")
        sources = [of_probabilities(functions, *lines)]
        decision = "output[0] == output[0] ? output[0] > 0 : -1"
        sources.append(of_classes(functions, decision, "output[0]", model.threshold))
    else:
        return []
    if model.classes is not None:
        sources.append(of_names(functions.prefix, model.classes))
    return sources


def of_probabilities(functions: Functions, *lines: str) -> str:
    prefix, real = functions.prefix, functions.real
    body = "\n".join(f"    {line}" for line in lines)
    return (
        "/* The probability of each class or label, from the network's outputs. */\n"
        f"static inline void {prefix}_probabilities(const {real} *output, {real} *p) "
        f"{{\n{body}\n}}\n"
    )


def of_classes(functions: Functions, decision: str, margin: str, threshold: float | None) -> str:
    prefix, real = functions.prefix, functions.real
    if threshold is not None:
        name = f"{prefix.upper()}_THRESHOLD"
        return (
            f"#ifndef {name}\n#define {name} {threshold!r}\n#endif\n"
            f"/* The predicted class: 1 if its probability is at least {name}, else 0;\n"
            "   -1 if an output is NAN. */\n"
            f"static inline int {prefix}_class(const {real} *output) {{\n"
            f"    double margin = {margin};\n"
            f"    double limit = log({name}) - log1p(-({name}));\n"
            "    return margin == margin ? margin >= limit : -1;\n}\n"
        )
    return (
        "/* The number of the most probable class; -1 if an output is NAN. */\n"
        f"static inline int {prefix}_class(const {real} *output) {{\n    return {decision};\n}}\n"
    )


def of_names(prefix: str, classes: Sequence[str]) -> str:
    names = textwrap.indent(strings_source("names", classes, "classes"), "    ")
    return (
        "/* The name of a class, in UTF-8; NULL if there is no such class. */\n"
        f"static inline const char *{prefix}_class_name(int number) {{\n"
        f"{names}"
        f"    return number >= 0 && number < {len(classes)} ? names[number] : 0;\n}}\n"
    )
