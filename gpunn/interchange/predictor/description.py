"""Describe, in JSON types, what a predictor needs from a network in addition to the steps."""

from __future__ import annotations

import math
from typing import Any

from gpunn.data.csv_format import csv_format_in
from gpunn.errors import ExportError
from gpunn.network import Sequential, check_network
from gpunn.rows.cells import Markers
from gpunn.tables import Schema
from gpunn.tables.cells import spellings
from gpunn.tables.encoders import features_of
from gpunn.tables.features import Group
from gpunn.version import __version__


def check_outputs(model: Sequential) -> None:
    check_network(model)
    if len(model.output_shape) != 1:
        raise ExportError(
            f"model: C and Python exports need vectors as outputs; got shape {model.output_shape}"
        )


def described(model: Sequential) -> dict[str, Any]:
    return {
        "gpunn": __version__,
        "dtype": model.dtype,
        "input_shape": list(model.input_shape),
        "outputs": model.output_shape[0],
        "output_activation": model.output_activation,
        "classes": model.classes,
        "threshold": model.threshold,
        "intervals": model.intervals,
        "prediction_sets": model.prediction_sets,
        "targets": model.target_names,
        "input": layout_of(model),
        "schema": None if model.schema is None else described_schema(model.schema),
    }


def layout_of(model: Sequential) -> dict[str, Any]:
    reading, features = csv_format_in(model.metadata), model.metadata.get("features")
    layout: dict[str, Any] = {
        "header": reading.header,
        "delimiter": reading.delimiter,
        "decimal": reading.decimal,
        "missing": [number for number in Markers.of(reading.missing).numbers if number == number],
    }
    if model.schema is not None:
        every = model.schema.columns
        used = [column for column in every if not column.dropped]
        return layout | {
            "names": [column.name for column in used] if model.schema.named else None,
            "positions": [index for index, column in enumerate(every) if not column.dropped],
            "width": len(every),
            "numeric": [index for index, column in enumerate(used) if column.kind == "number"],
        }
    count = math.prod(model.input_shape)
    layout |= {"decimal": reading.decimal or ".", "numeric": list(range(count)), "width": None}
    layout |= {"shape": list(model.input_shape)}
    if model.feature_names is not None:
        return layout | {
            "names": model.feature_names,
            "positions": list(range(count)),
            "header": True,
        }
    if isinstance(features, list) and len(features) == count:  # numbers of columns
        return layout | {
            "names": None,
            "positions": [int(name) for name in features],
            "header": False,
        }
    return layout | {"names": None, "positions": list(range(count)), "width": count}


def described_schema(schema: Schema) -> dict[str, Any]:
    # A column has an encoding for each joined schema that uses the column.
    columns: dict[str, dict[str, Any]] = {
        column.name: {
            "name": column.name,
            "kind": column.kind,
            "format": column.format,
            "encodings": [],
        }
        for column in schema.columns
        if not column.dropped
    }
    start = 0
    for part in schema.parts:
        for name, encoding in encodings_of(part, start).items():
            columns[name]["encodings"].append(encoding)
        start += part.width
    return {
        "width": schema.width,
        "missing_values": list(schema.missing_values),
        "columns": list(columns.values()),
    }


def encodings_of(schema: Schema, start: int) -> dict[str, dict[str, Any]]:
    encodings: dict[str, dict[str, Any]] = {}
    for column in schema.columns:
        if not column.dropped:
            encodings[column.name] = {"places": {}}
            if column.is_category:
                codes = spellings(column.categories)
                encodings[column.name] |= {"codes": codes, "gaps": column.missing > 0}
            else:
                encodings[column.name]["scales"] = {}
    for number, feature in enumerate(features_of(schema.columns)):
        encodings[feature.column]["places"][feature.aspect] = start + number
        if feature.group <= Group.PART:
            scale: dict[str, Any] = {"scaling": schema.scaling.name}
            scale |= {name: array[number].tolist() for name, array in schema.arrays().items()}
            encodings[feature.column]["scales"][feature.aspect] = scale
    return encodings
