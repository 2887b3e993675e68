"""Detect what callbacks of rank 0 have changed, and apply the same changes on other ranks."""

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from gpunn.backends.recording import fields_of
from gpunn.expressions.objects import Snapshot
from gpunn.layers import Layer
from gpunn.layers.base import family
from gpunn.training.trainer_protocol import TrainerProtocol

REPLACEABLE = (
    *("loss", "metrics", "validation_metrics", "optimizer", "log_every", "on_divergence"),
    "last_epoch",
)
"""Attributes of the trainer that a callback may set; the loss first, since it may set metrics."""


class Changed(NamedTuple):
    fields: dict[int, Any]
    vectors: list[np.ndarray] | None


class Changes:
    """Compares settings and arrays before and after a callback.

    The settings are the attributes of the trainer that callbacks may set, and the fields of layers,
    loss, metrics and optimizer. With `vectors`, parameters and buffers are also compared. The
    optimizer's state is never compared: the trainer's methods change it on all ranks.
    """

    def __init__(self, trainer: TrainerProtocol, vectors: bool) -> None:
        self._trainer, self._vectors = trainer, vectors
        parts = (*family(*trainer.model.layers), trainer.loss, *trainer.metrics, trainer.optimizer)
        self._fields = [*((trainer, name) for name in REPLACEABLE), *fields_of(parts)]
        self._values, self._numbers = [], []
        if trainer.ranks.first:
            self._values = [Snapshot([getattr(part, name)]) for part, name in self._fields]
            self._numbers = self._on_host()

    def _on_host(self) -> list[np.ndarray]:
        if not self._vectors:
            return []
        parameters, ops = self._trainer.model.parameters, self._trainer.model.backend
        return [ops.to_host(each) for each in (parameters.values, parameters.buffers)]

    def changed(self) -> Changed:
        changed = {}
        for number, (part, name) in enumerate(self._fields):
            value = getattr(part, name)
            if not self._values[number].equals([value]) and not isinstance(value, Layer):
                changed[number] = value
        now = self._on_host()
        equal = all(map(np.array_equal, now, self._numbers))
        return Changed(changed, None if equal else now)

    def apply(self, changed: Changed) -> None:
        for number, value in changed.fields.items():
            part, name = self._fields[number]
            setattr(part, name, deepcopy(value))
        if changed.vectors is not None:
            parameters, ops = self._trainer.model.parameters, self._trainer.model.backend
            for host, array in zip(
                changed.vectors, (parameters.values, parameters.buffers), strict=True
            ):
                ops.copy_from_host(host, array)
