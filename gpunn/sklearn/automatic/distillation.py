"""Distillation: a single network learns the predictions of an ensemble, to be fast and small."""

from __future__ import annotations

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.sklearn.tabular_fits import Fold


def check_distillation(distill: object, quantiles: object) -> None:
    """Raise an ArgumentError if the ensemble to distill predicts quantiles."""
    if distill is not False and quantiles is not None:
        raise ArgumentError("distill: cannot be combined with quantiles")


def fold_to_learn(fold: Fold, task: str, learned: np.ndarray) -> Fold:
    """Return a fold whose training rows have predictions instead of targets.

    `learned` has predictions for all rows, by the ensemble's networks of this fold (Hinton et al.
    2015, "Distilling the Knowledge in a Neural Network"). Networks of other folds have seen this
    fold's held-out rows, whose true targets select the epoch.
    """
    held = fold.validation
    true = held.targets.reshape(len(held.targets), -1)
    if task == "classification":
        true = np.eye(learned.shape[1])[held.targets]
    return fold._replace(
        every=fold.every._replace(targets=learned), validation=held._replace(targets=true)
    )
