"""L-BFGS: minimize the loss of all rows as a function of the flat parameter vector."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from gpunn.forks import IMPORTING
from gpunn.losses import Loss
from gpunn.network import Sequential
from gpunn.training.batches.dataset import Subset
from gpunn.workspace import Workspace

CHUNK_ROWS = 4096
"""Maximum number of rows in one pass through the network, to limit the memory of activations."""


class Objective:
    """The loss of all rows with the L2 penalty, and its gradient, as a function of parameters.

    L = (sum_i w_i l_i + l2_penalty / 2 * ||W||^2) / sum_i w_i. A call sets the model's parameters.
    """

    def __init__(self, model: Sequential, loss: Loss, l2_penalty: float, subset: Subset) -> None:
        ops, parameters = model.backend, model.parameters
        self._model, self._loss, self._l2_penalty = model, loss, l2_penalty
        self._subset = subset
        self._chunk = min(CHUNK_ROWS, subset.rows)
        self._workspace = Workspace(ops, model.dtype, self._chunk, training=True)
        self._gradients = ops.zeros(parameters.gradients.shape, model.dtype)
        self._loss_sum = ops.zeros((1,), model.dtype)
        weights = subset.dataset.weights
        self._weight = float(subset.rows if weights is None else weights.sum())
        self._total = ops.from_host(np.array([self._weight]), model.dtype)
        self._ones = ops.from_host(np.ones(self._chunk), model.dtype)

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return (L, dL/d(vector)) on the host, in float64."""
        ops, parameters = self._model.backend, self._model.parameters
        with ops.computing(), np.errstate(over="ignore", invalid="ignore"):
            ops.copy_from_host(vector, parameters.values)
            ops.fill(self._gradients, 0.0)
            ops.fill(self._loss_sum, 0.0)
            for chunk in self._subset.chunks(self._chunk):
                for start in range(0, chunk.rows, self._chunk):
                    self._add(chunk, start, min(start + self._chunk, chunk.rows))
            if self._l2_penalty:
                ops.l2_penalty(
                    parameters.values[: parameters.decayed],
                    self._gradients[: parameters.decayed],
                    self._total,
                    self._l2_penalty,
                    self._loss_sum,
                )
        value = float(ops.to_host(self._loss_sum)[0]) / self._weight
        return value, ops.to_host(self._gradients).astype(np.float64, copy=False)

    def _add(self, chunk: Any, start: int, stop: int) -> None:
        model, workspace, rows = self._model, self._workspace, stop - start
        ops = model.backend
        x, t = chunk.X[start:stop, ...], chunk.y[start:stop, ...]
        weights = self._ones[:rows] if chunk.weights is None else chunk.weights[start:stop]
        outputs = model.forward(x, workspace)
        gradient = workspace.rows(self, "gradient", rows, model.output_shape)
        ops.loss(self._loss, outputs[-1], t, weights, self._total, gradient, self._loss_sum)
        model.backward(outputs, gradient, workspace)
        ops.accumulate(model.parameters.gradients, self._gradients)


def minimize(
    objective: Objective,
    start: np.ndarray,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool,
) -> tuple[np.ndarray, float, int]:
    # SciPy's L-BFGS-B is used (Byrd, Lu, Nocedal & Zhu 1995).
    with IMPORTING:
        from scipy.optimize import OptimizeResult
        from scipy.optimize import minimize as scipy_minimize

    numbers = itertools.count(1)

    def report(intermediate_result: OptimizeResult) -> None:
        print(f"Iteration {next(numbers)}, loss = {intermediate_result.fun:.8f}")

    result = scipy_minimize(
        objective,
        np.asarray(start, dtype=np.float64),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        callback=report if verbose else None,
    )
    iterations = min(int(result.nit), max_iter)
    if result.status != 0:
        more = (
            f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
            if iterations == max_iter
            else ""
        )
        warnings.warn(
            f"lbfgs failed to converge after {iterations} iteration(s) (status={result.status}):\n"
            f"{result.message}\n{more}\nYou might also want to scale the data as shown in:\n"
            "    https://scikit-learn.org/stable/modules/preprocessing.html",
            ConvergenceWarning,
            stacklevel=5,
        )
    return result.x, float(result.fun), iterations
