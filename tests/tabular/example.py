"""A table with each kind of column, and networks from recipes for it."""

import numpy as np

import gpunn

ROWS = 60
RANDOM = np.random.default_rng(0)
FRAME = {
    "size": RANDOM.normal(size=ROWS),
    "age": np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.normal(size=ROWS)),
    "color": RANDOM.choice(["red", "green", "blue"], ROWS, p=[0.7, 0.2, 0.1]).tolist(),
    "town": [f"town {number % 12}" for number in range(ROWS)],
    "member": RANDOM.choice(["never", "once"], ROWS).tolist(),
}


def network(recipe, schema):
    return gpunn.Sequential(recipe.layers, schema.width, backend="numpy", seed=0)


def trained(recipe, schema, y):
    model = network(recipe, schema)
    model.schema = schema
    metrics = {"metrics": recipe.metrics, "validation_metrics": recipe.validation_metrics}
    trainer = gpunn.Trainer(model, recipe.loss, recipe.optimizer, **metrics)
    trainer.fit(FRAME, y, validation_data=(FRAME, y), progress=False, **recipe.options)
    return trainer
