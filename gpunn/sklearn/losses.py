"""scikit-learn's losses, where they are not among `gpunn.losses`.

They have no `name`, so configurations and files can't use them; only the estimators do.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, Poisson

__all__ = ["HalfMeanSquaredError", "HalfPoissonDeviance", "SummedBinaryCrossEntropy"]


@dataclass(frozen=True)
class HalfMeanSquaredError(MeanSquaredError):
    """l_i = mean_j (p_ij - t_ij)^2 / 2, with the gradient of the sum over j.

    scikit-learn reports the mean over outputs but computes the gradient of the sum. With several
    outputs these differ, and this loss does the same, so that updates and losses agree.
    """

    def scale(self, outputs: int) -> float:
        return 0.5 / outputs

    def slope(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class HalfPoissonDeviance(Poisson):
    """l_i = sum_j t_ij log(t_ij) - t_ij p_ij + exp(p_ij) - t_ij, with 0 log(0) = 0.

    The Poisson loss summed over the outputs, with the terms that do not depend on p, so that its
    minimum is 0.
    """

    from_zero = True

    def scale(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class SummedBinaryCrossEntropy(BinaryCrossEntropy):
    """The binary cross-entropy summed over the outputs instead of averaged: for several labels."""

    def scale(self, outputs: int) -> float:
        return 1.0
