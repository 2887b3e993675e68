"""The first difference between two schemas that encode rows differently."""

import numpy as np

from gpunn.tables.columns import Column
from gpunn.tables.encoders import features_of, scaled_features
from gpunn.tables.schema import Schema


def schema_difference(schema: Schema, other: Schema) -> str:
    """Return a description of the first difference between two schemas, or "".

    The description calls `schema` "this schema", and `other` "that schema".
    """
    if len(schema.parts) != len(other.parts):
        counts = len(other.parts), len(schema.parts)
        return f"schemas joined: {counts[0]} in that schema, {counts[1]} in this schema"
    differences = map(difference_of_parts, schema.parts, other.parts)
    return next(filter(None, differences), "")


def difference_of_parts(schema: Schema, other: Schema) -> str:
    here, there = encoded_columns(schema), encoded_columns(other)
    for name in [*here, *there]:
        if name not in there or name not in here:
            return f"that schema has {'no' if name in here else 'a'} column {name!r}"
        if problem := column_difference(here[name], there[name]):
            return f"column {name!r} {problem}"
    if list(here) != list(there):
        return f"columns are in another order in that schema: {', '.join(there)}"
    if schema.scaling.name != other.scaling.name:
        return f"numbers have the scaling {other.scaling.name!r} in that schema"
    arrays, others = schema.arrays(), other.arrays()
    for index, feature in enumerate(scaled_features(schema.columns)):
        for name, array in arrays.items():
            if not np.array_equal(array[index], others[name][index]):
                return f"column {feature.name!r} has a different scale in that schema"
    if schema.missing_values != other.missing_values:
        markers = ", ".join(map(repr, other.missing_values)) or "blanks only"
        return f"missing values are marked by {markers} in that schema"
    return ""


def encoded_columns(schema: Schema) -> dict[str, Column]:
    return {column.name: column for column in schema.columns if features_of([column])}


def column_difference(column: Column, other: Column) -> str:
    if column.kind != other.kind:
        return f"is a {other.kind} in that schema, but a {column.kind} in this schema"
    if column.format != other.format:
        return f"has the format {other.format!r} in that schema, not {column.format!r}"
    if column.categories != other.categories:
        odd = min(set(column.categories) ^ set(other.categories))
        has = "no" if odd in column.categories else "a"
        return f"has {has} category {odd!r:.60} in that schema"
    here, there = features_of([column]), features_of([other])
    if here != there:
        odd_feature = next(
            each for each in [*here, *there] if each not in here or each not in there
        )
        has = "no" if odd_feature in here else "a"
        return f"has {has} feature {odd_feature.name!r} in that schema"
    return ""
