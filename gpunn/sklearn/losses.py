"""Losses as in scikit-learn. These classes have no `name`, so configurations can't use them."""

from __future__ import annotations

from dataclasses import dataclass

from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, Poisson


@dataclass(frozen=True)
class HalfMeanSquaredError(MeanSquaredError):
    """scikit-learn's squared error: l_i = mean_j (p_ij - t_ij)^2 / 2.

    The gradient is p_ij - t_ij, as if the loss were the sum over j instead of the mean.
    """

    def scale(self, outputs: int) -> float:
        return 0.5 / outputs

    def slope(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class HalfPoissonDeviance(Poisson):
    """Half the Poisson deviance: sum_j (t_ij * log(t_ij) - t_ij * p_ij + exp(p_ij) - t_ij)."""

    from_zero = True

    def scale(self, outputs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class SummedBinaryCrossEntropy(BinaryCrossEntropy):
    """Binary cross-entropy for multilabel targets, summed over the outputs instead of averaged."""

    def scale(self, outputs: int) -> float:
        return 1.0
