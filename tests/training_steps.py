"""Steps of trainers that have not begun to train."""

import numpy as np

from gpunn.backends.recording import record
from gpunn.data.batches import DeviceRows
from gpunn.training.step.train_step import StepRecipe, TrainStep


def recipe_of(this, batch_size=8, **options):
    """Return what a trainer's step is made from."""
    return StepRecipe(
        model=this.model,
        loss=this.loss,
        optimizer=this.optimizer,
        metrics=this.metrics,
        batch_size=batch_size,
        **options,
    )


def step_of(this, batch_size=8, **options):
    """Return a trainer's step with the tables of its settings."""
    step = TrainStep(recipe_of(this, batch_size, **options))
    step.scheduled.load(np.zeros((1, 1 + len(step.scheduled.settings))))
    return step


def recorded_step(this, X, y):
    """Return the operations of a step with these rows."""
    rows = len(X)
    step = step_of(this, rows)
    step.load(DeviceRows(X, y, None, np.arange(rows), rows))
    return record(lambda: step._update(rows))
