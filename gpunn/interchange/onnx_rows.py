"""A table's columns as inputs of an ONNX graph, and their encoding by the schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from gpunn.errors import ExportError
from gpunn.interchange.onnx_graph_builder import Graph
from gpunn.rows.cells import Markers
from gpunn.tables import Schema
from gpunn.tables.columns import Column
from gpunn.tables.encoders import KINDS, Encoded, GraphRows, features_of
from gpunn.tables.onnx_nodes import Value, concatenate, where
from gpunn.tables.scaling import SCALINGS
from gpunn.typing import Shape


@dataclass(frozen=True)
class EncodedRows:
    matrix: str
    """The name of the matrix that `Schema.encode` would return, in the network's dtype."""
    accepted: str | None
    """Names a Boolean array, False in rows that `encode` refuses; None if it refuses no row."""


def column_inputs(schema: Schema) -> dict[str, tuple[str, Shape]]:
    return {
        column.name: ("object" if column.kind == "category" else "float64", (1,))
        for column in used_columns(schema)
    }


def kinds_of_columns(schema: Schema) -> dict[str, str]:
    return {column.name: column.kind for column in used_columns(schema)}


def units_of_columns(schema: Schema) -> dict[str, str]:
    return {column.name: column.unit for column in used_columns(schema) if column.unit}


def used_columns(schema: Schema) -> list[Column]:
    return [column for column in schema.columns if not column.dropped]


def encoded_rows(graph: Graph, schema: Schema) -> EncodedRows:
    columns = column_inputs(schema)
    inputs = {name: Value(graph, name, dtype) for name, (dtype, _) in columns.items()}
    every, fits = zip(
        *(encoded_by(part, inputs, graph.dtype) for part in schema.parts), strict=True
    )
    matrix = concatenate(every)
    if not (checks := list(chain.from_iterable(fits))):
        return EncodedRows(matrix.name, None)
    checks.append(np.absolute(matrix) <= np.finfo(graph.dtype).max)
    numbers = concatenate(checks).astype("int32")
    accepted = numbers.node("ReduceMin", numbers, numbers.constant([1], "int64"), keepdims=1)
    return EncodedRows(matrix.name, accepted.astype("bool").name)


def encoded_by(schema: Schema, inputs: Mapping[str, Value], dtype: str) -> tuple[Any, list[Any]]:
    if SCALINGS[schema.scaling.name] is not type(schema.scaling):  # a subclass may differ
        raise ExportError(
            f"schema: can't export the custom scaling {type(schema.scaling).__name__} to ONNX; "
            "export the network with encoded=True (--encoded)"
        )
    index = {feature: number for number, feature in enumerate(features_of(schema.columns))}
    rows = GraphRows(inputs, Markers.of(schema.missing_values), fits=[])
    every: list[Encoded] = []
    for name, kind in KINDS.items():
        columns = [column for column in used_columns(schema) if column.kind == name]
        every += kind.nodes(columns, rows) if columns else ()
    blocks = [block for block in every if block.missing is None]
    if scaled := [block for block in every if block.missing is not None]:  # as in the schema
        missing = concatenate([block.missing for block in scaled])
        numbers = concatenate([block.numbers for block in scaled])
        filled = where(missing, schema.scaling.median, numbers)
        features = [feature for block in scaled for feature in block.features]
        blocks.insert(0, Encoded(features, schema.scaling.nodes(filled)))
    matrix = concatenate([block.numbers for block in blocks])
    order = [index[feature] for block in blocks for feature in block.features]
    if order != sorted(order):
        matrix = matrix.take(np.argsort(order))
    return matrix.astype(dtype), rows.fits
