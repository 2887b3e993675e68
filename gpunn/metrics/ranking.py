"""Area under the ROC curve: how well scores rank the rows of a class above all other rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from array_api_compat import device

from gpunn.configurable import integer
from gpunn.losses import one_hot
from gpunn.metrics.base import LabelMetric, true_class
from gpunn.metrics.confusion import is_yes
from gpunn.typing import Array, Namespace

SMALLEST_SCALE = 0.01
"""The grid of scores is linear below this score, and logarithmic above it."""

LIMIT = math.asinh(1e4 / SMALLEST_SCALE)

LARGEST_ARRAY = 1 << 22
"""Maximum number of elements of a temporary array while scores are counted."""

MIN_SUM = 1e-37
"""Minimum of a sum of exponentials, so that its logarithm is finite."""


@dataclass(frozen=True)
class AUC(LabelMetric):
    """Area under the ROC curve, from logits.

    The area is the probability that a row of the class has a higher score than a row of another
    class; ties count one half (Hanley & McNeil 1982). With one output, the score is the logit; with
    two outputs, the score is the difference of the logits. With more outputs, each class has an
    area against all other classes, and the result is the mean of these areas. The score of class j
    is then its log odds p_j - log sum_(k != j) exp(p_k), where p are the logits.

    With binary cross-entropy and more than one output, the task is multilabel. The score of a label
    is its logit, and the result is the mean of the labels' areas, as in scikit-learn's
    `roc_auc_score(average="macro")`.

    Parameters
    ----------
    bins : int
        Number of bins for the scores, at least 2, rounded up to a square number. The summary
        contains two counts for each bin and class.

    Notes
    -----
    This class counts the scores in each bin. The bin of a score s is round(bins * asinh(100 * s) /
    (2 * L)) + bins / 2 with L = asinh(10^6). Scores beyond +-10,000 are in the first or last bin.

    Scores in the same bin count as ties. So the error is at most half the fraction of pairs that
    share a bin::

        |AUC - exact| <= 1/2 * sum_b P_b * N_b / (P * N)

    In bin b, the class's rows have the total weight P_b, and all other rows have the total weight
    N_b. P and N are the sums of P_b and N_b over all bins. `error_bound` returns this bound. With
    the default bins and overlapping scores of ordinary size, the bound is about 0.001.

    The area of a class or label is undefined if no row or every row has it. The mean leaves out
    undefined areas. If all areas are undefined, the result is NaN, which never counts as an
    improvement. Rows whose score is NaN are not counted.

    Examples
    --------
    With two rows of each class, there are four pairs (class 1, class 0); three are in order:

    >>> model = gpunn.Sequential([gpunn.layers.Flatten()], 1, backend="numpy")  # predicts X
    >>> trainer = gpunn.Trainer(model, "binary_cross_entropy", metrics=["auc"])
    >>> trainer.evaluate([[2.0], [0.5], [1.0], [-1.0]], [1, 1, 0, 0])["auc"]
    0.75
    """

    bins: int = integer(4096, at_least=2)

    name = "auc"
    larger_is_better = True

    @property
    def side(self) -> int:
        """Square root of `bins`, rounded up to an integer; `side**2` bins are used."""
        return math.isqrt(self.bins - 1) + 1

    def parts(self, outputs: int) -> int:
        """Return the number of curves whose areas are measured.

        Parameters
        ----------
        outputs : int
            Number of the network's outputs.

        Returns
        -------
        int
            The number of classes if `outputs` is at least 3, otherwise 1.
        """
        return outputs if outputs > 2 else 1

    def size(self, outputs: int) -> int:
        return self.parts(outputs) * 2 * self.side**2

    def scores(self, xp: Namespace, predictions: Array, targets: Array) -> tuple[Array, Array]:
        """Return each row's score for each curve, and whether the row is in the curve's class.

        Parameters
        ----------
        xp, predictions, targets : as for `measure`
            The arguments of `measure`.

        Returns
        -------
        scores : array, shape (rows, curves)
            The scores, in the predictions' dtype.
        truth : array, shape (rows, curves)
            1 for rows of the curve's class, else 0.
        """
        classes, dtype = predictions.shape[1], predictions.dtype
        if classes > 2:
            scores = log_odds(xp, predictions)
            return scores, one_hot(xp, true_class(xp, targets), classes, dtype)
        scores = predictions if classes == 1 else predictions[:, 1:] - predictions[:, :1]
        return scores, xp.astype(is_yes(xp, targets), dtype)[:, None]

    def bin_indices(self, xp: Namespace, predictions: Array, targets: Array) -> tuple[Array, Array]:
        """Return each row's bin for each curve, and whether the row is in the curve's class.

        Parameters
        ----------
        xp, predictions, targets : as for `scores`
            The arguments of `scores`.

        Returns
        -------
        bins : array, shape (rows, curves)
            The bin's index, in the scores' dtype.
        truth : array, shape (rows, curves)
            1 for rows of the curve's class, else 0.
        """
        scores, truth = self.scores(xp, predictions, targets)
        count = self.side**2
        bins = xp.floor(xp.asinh(scores / SMALLEST_SCALE) * (count / (2 * LIMIT)) + (count + 1) / 2)
        return xp.minimum(xp.maximum(bins, 0.0), float(count - 1)), truth

    def measure(self, xp: Namespace, predictions: Array, targets: Array, weights: Array) -> Array:
        bins, truth = self.bin_indices(xp, predictions, targets)
        count, dtype, place = self.side**2, predictions.dtype, device(predictions)
        block = max(1, LARGEST_ARRAY // max(1, bins.shape[0]))
        members = [each * weights[:, None] for each in (truth, 1 - truth)]
        counts = []
        for part, weighted in product(range(bins.shape[1]), members):
            for start in range(0, count, block):
                numbers = xp.arange(start, min(start + block, count), dtype=dtype, device=place)
                own = weighted[:, part, None]
                in_bin = xp.where(bins[:, part, None] == numbers, own, xp.zeros_like(own))
                counts.append(xp.sum(in_bin, axis=0))
        return xp.concat(counts)

    def result(self, summary: np.ndarray, weight: float) -> float:
        of_class, of_others, pairs = self._counts(summary)
        before = np.cumsum(of_others, axis=1) - of_others
        ordered = (of_class * (before + 0.5 * of_others)).sum(axis=1)
        return float((ordered / pairs).mean()) if pairs.size else math.nan

    def error_bound(self, summary: np.ndarray) -> float:
        """Return the largest possible difference between a summary's AUC and the exact AUC.

        Parameters
        ----------
        summary : ndarray
            The summary of all rows.

        Returns
        -------
        float
            The bound; NaN if the AUC is NaN.
        """
        of_class, of_others, pairs = self._counts(summary)
        shared = 0.5 * (of_class * of_others).sum(axis=1)
        return float((shared / pairs).mean()) if pairs.size else math.nan

    def _counts(self, summary: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return P_b, N_b and P * N of each class whose area is defined, that is, P * N > 0.

        The notes of `AUC` define these sums. P_b and N_b have shape (classes, bins).
        """
        counts = summary.astype(np.float64).reshape(-1, 2, self.side**2)
        of_class, of_others = counts[:, 0], counts[:, 1]
        pairs = of_class.sum(axis=1) * of_others.sum(axis=1)
        defined = pairs > 0
        return of_class[defined], of_others[defined], pairs[defined]


def log_odds(xp: Namespace, predictions: Array) -> Array:
    """Return log(p / (1 - p)) of each class's probability p = softmax(predictions)."""
    classes, dtype = predictions.shape[1], predictions.dtype
    shifted = predictions - xp.max(predictions, axis=1, keepdims=True)
    exponential = xp.exp(shifted)
    top = one_hot(xp, xp.argmax(predictions, axis=1), classes, dtype)
    # The sum omits the largest term. Subtracting this term would cancel small terms.
    beside_top = xp.sum((1 - top) * exponential, axis=1, keepdims=True)
    others = xp.where(top > 0, beside_top, beside_top + (1 - exponential))
    return shifted - xp.log(xp.maximum(others, MIN_SUM))
