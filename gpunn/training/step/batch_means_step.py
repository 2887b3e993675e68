"""A step that averages an epoch's loss as scikit-learn does with sample weights."""

from __future__ import annotations

from typing import Any

from gpunn.expressions import expression_of
from gpunn.training.step.train_step import TrainStep


class BatchMeansStep(TrainStep):
    """A training step for an epoch loss that is the mean batch loss, weighted by batch size.

    Batch b has n_b rows with the weights w_i and the losses l_i::

        loss = sum_b n_b L_b / sum_b n_b
        L_b = (sum_i w_i l_i + l2_penalty / 2 * ||W||^2) / sum_i w_i

    A batch whose weights are all 0 is left out.
    """

    def _update(self, rows: int) -> None:
        ops, sums, count = self.ops, self.statistics.vector[:2], float(rows)
        earlier, means = (self.workspace.fixed(self, name, (2,)) for name in ("earlier", "means"))
        ops.assign(sums, earlier)
        ops.fill(sums, 0.0)
        super()._update(rows)

        def counted(xp: Any, loss: Any, weight: Any, losses: Any, counts: Any) -> tuple[Any, Any]:
            """Return losses + n_b * L_b and counts + n_b, or both unchanged if `weight` is 0."""
            divisor = xp.where(weight > 0, weight, xp.ones_like(weight))
            factor = xp.where(weight > 0, count / divisor, 0.0 * weight)
            return losses + factor * loss, counts + factor * weight

        inputs = sums[:1], sums[1:], earlier[:1], earlier[1:]
        names = dict.fromkeys(("loss", "weight", "losses", "counts"), ((1,), "float"))
        expression = expression_of(counted, names, ops.dtype_name(sums))
        ops.compute(expression, inputs, (means[:1], means[1:]))
        ops.assign(means, sums)
