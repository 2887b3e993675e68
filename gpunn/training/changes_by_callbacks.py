"""What callbacks of rank 0 have changed, so that the other ranks can change the same."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.recording import elements, fields_of, same
from gpunn.layers import Layer
from gpunn.layers.base import family
from gpunn.training.trainer_protocol import TrainerProtocol

__all__ = ["Changes", "Found"]


class Found(NamedTuple):
    """What has been changed: fields by their number, and all parameters and buffers, if one has."""

    fields: dict[int, Any]
    vectors: list[np.ndarray] | None


class Changes:
    """Compares what a callback may change with what it was before.

    That is fields of layers, loss, metrics and optimizer, such as a rate of dropout, and, with
    `vectors`, the network's numbers. The optimizer's state is changed by methods of the trainer,
    which ask the other ranks to do the same.
    """

    def __init__(self, trainer: TrainerProtocol, vectors: bool) -> None:
        self._trainer, self._vectors = trainer, vectors
        parts = (*family(*trainer.model.layers), trainer.loss, *trainer.metrics, trainer.optimizer)
        self._fields = fields_of(parts)
        self._values, self._numbers = [], []
        if trainer.ranks.first:
            values = (getattr(part, name) for part, name in self._fields)
            self._values = [(value, elements(value)) for value in values]
            self._numbers = self._on_host()

    def _on_host(self) -> list[np.ndarray]:
        if not self._vectors:
            return []
        parameters, ops = self._trainer.model.parameters, self._trainer.model.backend
        return [ops.to_host(each) for each in (parameters.values, parameters.buffers)]

    def found(self) -> Found:
        """Return what is not as it was."""
        changed = {}
        for number, (part, name) in enumerate(self._fields):
            value, (before, within) = getattr(part, name), self._values[number]
            is_same = same([value], [before]) and same(elements(value), within)
            if not is_same and not isinstance(value, Layer):
                changed[number] = value
        now = self._on_host()
        equal = all(map(np.array_equal, now, self._numbers))
        return Found(changed, None if equal else now)

    def take(self, found: Found) -> None:
        """Change what rank 0 has found to be changed there."""
        for number, value in found.fields.items():
            part, name = self._fields[number]
            setattr(part, name, deepcopy(value))
        if found.vectors is not None:
            parameters, ops = self._trainer.model.parameters, self._trainer.model.backend
            for host, array in zip(
                found.vectors, (parameters.values, parameters.buffers), strict=True
            ):
                ops.copy_from_host(host, array)
