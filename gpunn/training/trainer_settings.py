"""Checks of a trainer's settings, in the constructor and whenever a setting is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunn.configurable import check_choice, check_integer, resolve, resolve_all
from gpunn.errors import ArgumentError
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.monitor import NOT_METRICS
from gpunn.optimizers import Optimizer
from gpunn.training.divergence.recovery import CHOICES


def checked_metrics(values: Any, argument: str = "metrics") -> list[Metric]:
    """Return metrics; raise an ArgumentError if two logs of an epoch would have the same name."""
    metrics = resolve_all(Metric, values, argument)
    names = ["loss", *(metric.name for metric in metrics)]
    reserved = set(NOT_METRICS)
    if len(set(names)) < len(names) or reserved & set(names):
        raise ArgumentError(
            f"{argument}: expected distinct names other than 'loss' and {sorted(reserved)}; got "
            f"{names[1:]}"
        )
    return metrics


CHECKS: dict[str, Callable[[Any], Any]] = {
    "loss": lambda value: resolve(Loss, value, "loss"),
    "metrics": checked_metrics,
    "validation_metrics": lambda value: checked_metrics(value, "validation_metrics"),
    "optimizer": lambda value: resolve(Optimizer, value, "optimizer"),
    "gradient_accumulation": lambda value: check_integer("gradient_accumulation", value),
    "report_every": lambda value: check_integer("report_every", value),
    "on_divergence": lambda value: check_choice("on_divergence", value, CHOICES, "choice"),
    "batch_norm": lambda value: check_choice("batch_norm", value, ("synchronized", "local")),
}
"""Functions that check a setting and convert names to objects."""
