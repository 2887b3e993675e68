"""Steps of trainers that have not begun to train."""

import numpy as np

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
    """Return a trainer's step, with a learning rate of 0 for one update."""
    step = TrainStep(recipe_of(this, batch_size, **options))
    step.load_settings(np.zeros((1, 1 + len(step.scheduled.settings))))
    return step
