"""Losses of scikit-learn that `gpunn.losses` lacks.

These losses have no `name`, so only the estimators can use them, not configurations or files.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, Poisson


@dataclass(frozen=True)
class HalfMeanSquaredError(MeanSquaredError):
    """Squared error l_i = mean_j (p_ij - t_ij)^2 / 2, with the gradient of the sum over j.

    scikit-learn reports the mean over outputs but computes the gradient of the sum. This loss does
    the same, so that updates and losses agree with scikit-learn's for several outputs.
    """

    def scale(self, outputs: int) -> float:
        return 0.5 / outputs

    def slope(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class HalfPoissonDeviance(Poisson):
    """Half the Poisson deviance, sum_j t_ij log(t_ij) - t_ij p_ij + exp(p_ij) - t_ij.

    The loss l_i is a Poisson loss that is summed over the outputs, with 0 log(0) = 0. Terms that do
    not depend on p are included, so that the minimum of the loss is 0.
    """

    from_zero = True

    def scale(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class SummedBinaryCrossEntropy(BinaryCrossEntropy):
    """Binary cross-entropy summed over the outputs instead of averaged, for several labels."""

    def scale(self, outputs: int) -> float:
        return 1.0
