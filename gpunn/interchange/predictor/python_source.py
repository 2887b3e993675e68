"""The Python source of a predictor. The predictor needs NumPy, or only the standard library."""

from __future__ import annotations

import ast
import base64
import builtins
import json
import keyword
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gpunn import intervals, prediction_sets, terminal, thresholds
from gpunn.interchange.expressions.names import Printed
from gpunn.interchange.expressions.rows import RowFunction
from gpunn.interchange.predictor import (
    command_line,
    number_rows,
    numpy_functions,
    pure_functions,
    table_rows,
)
from gpunn.interchange.predictor.description import check_outputs, described
from gpunn.interchange.predictor.numpy_printer import numpy_source
from gpunn.interchange.predictor.pure_printer import pure_source
from gpunn.interchange.predictor.python_printer import WIDTH
from gpunn.interchange.predictor.templates import Template, imports_of, names_in
from gpunn.interchange.steps import SAME, ArrayName, Step, Steps, steps_of
from gpunn.meaning import plural
from gpunn.network import Sequential
from gpunn.rows import cells, csv_rows, formats, lines, predict_stream, predictions
from gpunn.tables.encoders import KINDS, numeric
from gpunn.tables.scaling import SCALINGS, base
from gpunn.version import __version__

LIBRARY = (
    *("argparse", "array", "base64", "bisect", "codecs", "contextlib", "csv", "datetime as dt"),
    *("difflib", "functools", "io", "itertools", "json", "math", "operator", "os", "pathlib", "re"),
    *("signal", "stat", "statistics", "struct", "sys", "unicodedata", "zlib"),
)

TYPES = {
    "collections.abc": ("Callable", "Iterable", "Iterator", "Sequence"),
    "typing": ("Any", "BinaryIO", "NoReturn", "Self"),
}

COLUMNS = (
    *(numeric, *(sys.modules[type(kind).__module__] for kind in KINDS.values())),
    *(base, *(sys.modules[scaling.__module__] for scaling in SCALINGS.values())),
)

READING = (cells, formats, lines, csv_rows, predict_stream, predictions)
"""Modules that read rows and write predictions, each after the modules whose constants it uses."""

NAMES = ("np", "network", SAME, "MODEL", "ARRAYS", *(name.split()[-1] for name in LIBRARY))

HEAD = '''\
#!/usr/bin/env python3
"""Predictions of a neural network; needs Python 3.11 or newer{needs}.

gpunn {version} wrote this file. On the command line, the file predicts rows of CSV or JSON lines as
they arrive:

    python predictor.py rows.csv --output predictions.csv
    some-command | python predictor.py --probabilities

In Python, `predict(rows)` returns the network's outputs for rows of
{inputs}{encoded}. For a classifier, `probabilities(outputs)` returns
probabilities. Parameters are at the end.
"""

from __future__ import annotations

'''


def python_source(model: Sequential, pure: bool = False) -> str:
    check_outputs(model)
    steps = steps_of(model)
    if pure:
        make_pure(steps)
    functions = pure_functions if pure else numpy_functions
    rows = number_rows if model.schema is None else table_rows
    others = terminal, command_line, thresholds, intervals, prediction_sets
    template = Template(functions, *READING, rows, *COLUMNS, *others)
    description = described(model)
    tables = {} if model.schema is None else functions_of_columns(description["schema"])
    wanted = [name for table in tables.values() for name in table.values()]
    printed = print_expressions(steps, pure_source if pure else numpy_source, template)
    used = [name for text in printed for name in names_in(ast.parse(text))]
    wanted += [step.function for step in steps.steps]
    taken = template.take(["main", "decoded", *wanted, *used])
    first = Template(functions)
    parts = [text for name, text in taken.items() if name in first] + printed
    parts.append(network_source(steps, model, "list[float]" if pure else "np.ndarray"))
    parts += [text for name, text in taken.items() if name not in first]
    parts += [table_source(name, table) for name, table in tables.items()]
    # The data, which may be large, need only `json`.
    imports = [f"import {name}" for name in imports_of([*parts, "json.loads"], LIBRARY)]
    parts.append(data_source(description, steps.arrays))
    code = "\n\n\n".join(parts)
    for module, names in TYPES.items():
        used = [name for name in names if re.search(rf"\b{name}\b", code)]
        imports += [f"from {module} import {', '.join(used)}"] if used else []
    imports += [] if pure else ["", "import numpy as np"]
    head = HEAD.format(
        version=__version__,
        needs="" if pure else ", and NumPy",
        inputs=plural(int(np.prod(model.input_shape)), "number"),
        encoded="" if model.schema is None else " made by `encoded`",
    )
    end = 'if __name__ == "__main__":\n    main()\n'
    return head + "\n".join(imports) + f"\n\n\n{code}\n\n{end}"


def print_expressions(
    steps: Steps, source: Callable[[RowFunction, str], str], template: Template
) -> list[str]:
    # The steps get the names of the returned functions.
    taken = {*template, *keyword.kwlist, *dir(builtins), *NAMES, *steps.shapes}
    printed = Printed(source, taken)
    steps.steps = [
        step
        if step.expression is None
        else replace(step, function=printed.name(step.function, step.expression))
        for step in steps.steps
    ]
    return list(printed.sources.values())


def functions_of_columns(schema: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    # Names are grouped by table.
    kinds = {column["kind"] for column in schema["columns"]}
    encodings = [encoding for column in schema["columns"] for encoding in column["encodings"]]
    scales = [scale for each in encodings for scale in each.get("scales", {}).values()]
    scalings = sorted({scale["scaling"] for scale in scales})
    return {
        "ENCODERS": {name: kind.cell.__name__ for name, kind in KINDS.items() if name in kinds},
        "SCALERS": {scaling: SCALINGS[scaling].number.__name__ for scaling in scalings},
    }


def table_source(name: str, functions: Mapping[str, str]) -> str:
    lines = (f'    "{key}": {function},\n' for key, function in functions.items())
    return f"{name} = {{\n{''.join(lines)}}}"


def make_pure(steps: Steps) -> None:
    done = set()
    for step in steps.steps:
        for index, argument in enumerate(step.arguments):
            if not isinstance(argument, ArrayName) or argument.name in done:
                continue
            done.add(argument.name)
            array = steps.arrays[argument.name]
            if step.kind.arrays == "transposed" and index == 0:
                array = np.swapaxes(array, -1, -2)
            elif step.kind.arrays != "nested":
                array = array.reshape(-1)
            steps.arrays[argument.name] = array
    steps.steps = [
        replace(step, arguments=(*step.arguments, math.prod(step.input_shape[:-1])))
        if step.kind.needs_members
        else step
        for step in steps.steps
    ]


def network_source(steps: Steps, model: Sequential, kind: str) -> str:
    lines = [
        f"def network(x: {kind}) -> {kind}:",
        f'    """Return the {model.output_shape[0]:,} outputs of the network."""',
    ]
    lines += [call_source(step) for step in steps.steps]
    return "\n".join([*lines, "    return x"])


def call_source(step: Step) -> str:
    arguments = [
        *step.inputs,
        *(
            f"ARRAYS[{json.dumps(argument.name)}]"
            if isinstance(argument, ArrayName)
            else repr(argument)
            for argument in step.arguments
        ),
    ]
    if step.function == SAME:
        return f"    {step.output} = {step.inputs[0]}"
    start = f"    {step.output} = {step.function}("
    line = f"{start}{', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    return "\n".join([start, *(f"        {argument}," for argument in arguments), "    )"])


def data_source(description: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    text = json.dumps(description, indent=1, allow_nan=False).replace("'", "\\u0027")
    lines = [f"MODEL = json.loads(r'''\n{text}\n''')", "", "ARRAYS = decoded(", "    {"]
    for name, array in arrays.items():
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        content = base64.b64encode(little.tobytes()).decode()
        kind = f"<{little.dtype.kind}{little.dtype.itemsize}"
        shape = "".join(f"{size}, " for size in array.shape).strip()
        lines.append(f'        {json.dumps(name)}: ("{kind}", ({shape}), """')
        lines += [content[k : k + WIDTH] for k in range(0, len(content), WIDTH)] or [""]
        lines.append('"""),')
    return "\n".join([*lines, "    }", ")"])
