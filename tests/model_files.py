"""Networks and trainers to save, and what tests look at and change in model files."""

import json

import numpy as np
from safetensors import safe_open

import gpunn
from gpunn import layers
from gpunn.optimizers import Adam
from gpunn.storage.checksums import checksummed
from gpunn.storage.files import write_atomically


def everything(**options):
    return gpunn.Sequential(
        [
            layers.Standardization(),
            layers.Dense(5, {"name": "leaky_relu", "slope": 0.2}, label="first"),
            layers.BatchNorm(),
            layers.Dropout(0.3),
            layers.LayerNorm(),
            layers.Activation("tanh"),
            layers.Dense(3, bias=False, initializer="zeros"),
        ],
        (4,),
        **{"backend": "numpy", "seed": 3, **options},
    )


def small():
    return gpunn.Sequential([layers.Dense(2)], 3, "numpy")


def data(rows=20):
    random = np.random.default_rng(0)
    return random.normal(5, 3, size=(rows, 4)), random.integers(0, 3, rows)


def trained(optimizer=None, epochs=2, model=None):
    trainer = gpunn.Trainer(
        model or everything(), "softmax_cross_entropy", optimizer or Adam(0.01), ["accuracy"]
    )
    trainer.fit(*data(), epochs=epochs, batch_size=8, progress=False)
    return trainer


def contents(path):
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, json.loads(file.metadata()["gpunn"])


def rewritten(path, arrays=None, **changes):
    old, description = contents(path)
    both = ((old, arrays or {}), (description, changes))
    for current, new in both:
        current.update(new)
        for name in [name for name, value in current.items() if value is None]:
            del current[name]
    write_atomically(path, *checksummed(old, {"gpunn": json.dumps(description)}))


DAMAGED = [
    ({"layers": None}, "layers"),
    ({"layers": 3}, "layers"),
    ({"input_shape": ["a"]}, "input_shape"),
    ({"input_shape": None}, "input_shape"),
    ({"seed": 1.5}, "seed"),
    ({"kind": "perceptron"}, "kind"),
    ({"metadata": 3}, "metadata"),
    ({"inputs_fitted": "yes"}, "inputs_fitted"),
    ({"training": 3}, "training"),
]
"""Changes of a description that no file of gpunn's has, and what the error says of each."""
