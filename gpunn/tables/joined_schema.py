"""One schema for several schemas that were learned from different rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.meaning import plural
from gpunn.tables.columns import Column, EncodedCategory
from gpunn.tables.encoders.datetime import PARTS
from gpunn.tables.features import distinct
from gpunn.tables.schema import Schema
from gpunn.tables.unseen_values import UnseenValues

KEY = "schemas"
"""Key of the schemas in a description, which files contain, so it must not change."""


class JoinedSchema(Schema):
    """A schema that puts the matrices of several schemas of one table side by side.

    `scaling` is the scaling of the first schema. A column in `columns` has the categories of all
    schemas. A value causes a warning only if the value is unseen in all schemas.
    """

    def __init__(self, parts: Sequence[Schema]) -> None:
        self._parts = tuple(parts)
        shared = {
            (
                *((column.name, column.kind, column.format) for column in part.columns),
                (part.missing_values, part.named),
            )
            for part in parts
        }
        if len(shared) != 1:
            raise ArgumentError(
                f"{KEY}: expected schemas with the same columns, kinds, formats and missing_values"
            )
        columns = zip(*(part.columns for part in parts), strict=True)
        first = self._parts[0]
        super().__init__(
            [combined(each) for each in columns], first.scaling, first.missing_values, first.named
        )
        self._names = distinct([name for part in parts for name in part.names])
        rest = iter(self._names)
        self.numbers, self.categories = [], []
        alike = dict[tuple[Column, ...], dict[int, Schema]]()
        for part in parts:
            alike.setdefault(part.columns, {})[self.width] = part
            self.numbers += [next(rest) for _ in part.numbers]
            self.categories += [EncodedCategory(next(rest), c.size) for c in part.categories]

        self._alike = list(alike.values())
        """Groups of schemas with equal columns; a key is where a schema's matrix begins."""

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self._parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["parts"])  # type: ignore[misc]

    @property
    def parts(self) -> tuple[Schema, ...]:
        return self._parts

    @property
    def names(self) -> list[str]:
        return list(self._names)

    def encode_with_unseen(
        self, frame: Any, dtype: str = "float32"
    ) -> tuple[np.ndarray, UnseenValues]:
        matrix, table = self._empty(frame, dtype)
        alike = [next(iter(schemas.values())) for schemas in self._alike]
        unseen = [
            schema._fill(schemas, table, matrix)
            for schema, schemas in zip(alike, self._alike, strict=True)
        ]
        return matrix, self._unseen_by_all(alike, unseen)

    def _unseen_by_all(
        self, parts: Sequence[Schema], unseen: Sequence[UnseenValues]
    ) -> UnseenValues:
        common = UnseenValues()
        for place, column in enumerate(self.columns):
            if column.dropped:
                continue
            using = [
                each
                for each, part in zip(unseen, parts, strict=True)
                if not part.columns[place].dropped
            ]
            texts, *others = (each.unknown.get(column.name, {}) for each in using)
            if shared := {t: n for t, n in texts.items() if all(t in each for each in others)}:
                common.unknown[column.name] = shared
            if all(column.name in each.missing for each in using):
                common.missing[column.name] = using[0].missing[column.name]
        return common

    def __repr__(self) -> str:
        return (
            f"<JoinedSchema: {plural(len(self._parts), 'schema')} of "
            f"{plural(len(self.columns), 'column')}>"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JoinedSchema) and self._parts == other._parts

    __hash__ = None

    def to_json(self) -> dict[str, Any]:
        return {KEY: [part.to_json() for part in self._parts]}

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            f"{number}.{name}": array
            for number, part in enumerate(self._parts)
            for name, array in part.arrays().items()
        }


def combined(columns: Sequence[Column]) -> Column:
    used = [column for column in columns if not column.dropped] or columns
    return replace(
        used[0],
        categories=tuple(sorted({each for column in used for each in column.categories})),
        parts=tuple(part for part in PARTS if any(part in column.parts for column in used)),
        missing=max(column.missing for column in used),
        constant=all(column.constant for column in used),
        doubtful=any(column.doubtful for column in used),
        reported=next((column.reported for column in used if column.reported), ""),
    )


def schema_from_json(description: Any, arrays: Mapping[str, np.ndarray]) -> Schema:
    if not isinstance(description, dict) or KEY not in description:
        return Schema.from_json(description, arrays)
    parts = description[KEY]
    if not isinstance(parts, list):
        raise ArgumentError(f"{KEY}: expected a list; got {parts!r:.80}")
    arrays_of: dict[str, dict[str, np.ndarray]] = {str(number): {} for number in range(len(parts))}
    for name, array in arrays.items():
        number, _, rest = name.partition(".")
        if number not in arrays_of:
            raise ArgumentError(f"arrays: {name!r} belongs to none of {len(parts)} schemas")
        arrays_of[number][rest] = array
    return JoinedSchema(list(map(Schema.from_json, parts, arrays_of.values())))
