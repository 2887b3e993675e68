"""Rows and their sums, and a small training on them."""

import numpy as np

import gpunn

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X.sum(axis=1)


def fit(*callbacks, **options):
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 3, "numpy")
    trainer = gpunn.Trainer(model, "mean_squared_error", "sgd", ["mean_absolute_error"])
    standard = {"epochs": 3, "batch_size": 8, "progress": False, "validation_split": 0.2}
    return trainer.fit(X, Y, callbacks=callbacks, **{**standard, **options})
