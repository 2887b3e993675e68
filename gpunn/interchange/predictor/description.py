"""What a predictor has to know of a network beside its steps, in JSON types."""

from __future__ import annotations

from typing import Any

from gpunn.network import Sequential
from gpunn.tables import Schema
from gpunn.tables.columns import Column
from gpunn.tables.layout import CURVES, MISSING, Place, scaled_places, unscaled_places
from gpunn.version import __version__

__all__ = ["described"]


def described(model: Sequential) -> dict[str, Any]:
    """Return the description of a network: types, shapes, names, and what a table's cells mean."""
    features, header = model.metadata.get("features"), model.metadata.get("header")
    if not isinstance(features, list):
        features = None
    if model.schema is not None:
        header = True if model.schema.named else None
    return {
        "gpunn": __version__,
        "dtype": model.dtype,
        "input_shape": list(model.input_shape),
        "outputs": model.output_shape[0],
        "output_activation": model.output_activation,
        "classes": model.classes,
        "targets": model.target_names,
        "features": features,
        "header": header,
        "schema": None if model.schema is None else described_schema(model.schema),
    }


def described_schema(schema: Schema) -> dict[str, Any]:
    """Return what a predictor needs to encode rows: places in the matrix, and scales."""
    scaled = scaled_places(schema.columns)
    places = {
        place: number for number, place in enumerate([*scaled, *unscaled_places(schema.columns)])
    }
    arrays = schema.arrays()
    scales = [
        {name: array[k].tolist() for name, array in arrays.items()} for k in range(len(scaled))
    ]
    return {
        "width": schema.width,
        "scaling": schema.scaling.name,
        "missing_values": list(schema.missing_values),
        "names": [column.name for column in schema.columns],
        "columns": [
            described_column(column, places, scales)
            for column in schema.columns
            if not column.dropped
        ],
    }


def described_column(
    column: Column, places: dict[Place, int], scales: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what becomes of a column's cells, with the places of the matrix where it stands."""

    def scaled(what: str) -> dict[str, Any]:
        place = places[Place(column.name, what)]
        return {"place": place, **scales[place]}

    found: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.has_indicator:
        found["missing"] = places[Place(column.name, MISSING)]
    if column.is_category:
        found |= {"place": places[Place(column.name)], "categories": list(column.categories)}
    elif column.kind == "datetime":
        found["parts"] = {}
        for part in column.parts:
            found["parts"][part] = scaled(part)
            for curve in CURVES:
                place = places.get(Place(column.name, f"{part}, {curve}"))
                if place is not None:
                    found["parts"][part][curve] = place
    elif column.is_number:
        found["number"] = scaled("")
    return found
