"""Distillation: a single network learns the predictions of an ensemble, to be fast and small."""

from __future__ import annotations

import numpy as np

from gpunn.errors import ArgumentError
from gpunn.sklearn.tabular import TabularEstimator
from gpunn.sklearn.tabular_fits import Fitted, Fold, Rows
from gpunn.tables import Schema


def check_distillation(distill: object, quantiles: object) -> None:
    """Raise an ArgumentError if the ensemble to distill predicts quantiles."""
    if distill is not False and quantiles is not None:
        raise ArgumentError("distill: cannot be combined with quantiles")


def distilled(
    student: TabularEstimator, fold: Fold, schema: Schema, seed: int, learned: np.ndarray
) -> tuple[Fitted, np.ndarray]:
    """Train the student's network on a fold; return it, and its outputs for the held-out rows.

    `learned` has predictions for all rows, by the ensemble's networks of this fold (Hinton et al.
    2015, "Distilling the Knowledge in a Neural Network"). These networks have the same training
    rows as the student; networks of other folds have seen the held-out rows. The true targets of
    the held-out rows select the epoch.
    """
    held, outputs = fold.validation, learned.shape[1]
    true = held.targets.reshape(len(held.targets), -1)
    if student._task == "classification":
        true = np.eye(outputs)[held.targets]
    rows = Rows(fold.every.table, learned, fold.every.weights)
    fold = Fold(rows, fold.kept, fold.held, held._replace(targets=true))
    (fitted,), (held_outputs,) = student._train_networks([fold], schema, seed)
    return fitted, held_outputs
