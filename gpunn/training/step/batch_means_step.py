"""A step that averages an epoch's loss as scikit-learn does with sample weights."""

from __future__ import annotations

from gpunn.training.step.train_step import TrainStep


class BatchMeansStep(TrainStep):
    """A training step whose epoch loss is the mean of the batches' losses, weighted by rows.

    With the weights w_i and the losses l_i of the n_b rows of batch b::

        loss = sum_b n_b L_b / sum_b n_b
        L_b = (sum_i w_i l_i + l2_penalty / 2 * ||W||^2) / sum_i w_i

    A batch whose weights are all 0 is left out. The parameters are updated as in `TrainStep`.
    """

    def _update(self, rows: int) -> None:
        ops, sums = self.ops, self.statistics.vector[:2]
        earlier = self.workspace.fixed(self, "earlier loss and weight", (2,))
        ops.assign(sums, earlier)
        ops.fill(sums, 0.0)
        super()._update(rows)
        xp, count = ops.xp, float(rows)

        def count_rows() -> None:
            """Turn this batch's sums into n_b L_b and n_b, and add the sums of earlier batches."""
            weight = sums[1:]
            divisor = xp.where(weight > 0, weight, xp.ones_like(weight))
            sums[...] = earlier + xp.where(weight > 0, count / divisor, 0.0 * weight) * sums

        ops.call(count_rows)
