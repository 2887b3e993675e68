"""Three epochs of RealMLP agree with its formulas in PyTorch.

Embeddings, factors, schedules and decay are implemented again here, and PyTorch differentiates.
"""

import math

import numpy as np
import pytest

import gpunn
from gpunn.tables import Schema
from gpunn.tabular import realmlp
from gpunn.training.batches.initial_values_from_data import start_from_data

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

ROWS, BATCH, EPOCHS = 700, 128, 3
RANDOM = np.random.default_rng(0)
FRAME = {
    "size": RANDOM.normal(size=ROWS),
    "age": RANDOM.exponential(size=ROWS),
    "color": RANDOM.choice(["red", "green", "blue"], ROWS).tolist(),
    "town": [f"town {number % 15}" for number in RANDOM.integers(0, 15, ROWS)],
    "member": RANDOM.choice(["never", "once"], ROWS).tolist(),
}
NUMBER = 2 * FRAME["size"] + FRAME["age"] ** 2 + (np.array(FRAME["color"]) == "red")
SCHEMA = Schema.fit(FRAME)
X = SCHEMA.encode(FRAME, "float64")


def ending(arrays, end):
    (found,) = [array for name, array in arrays.items() if name.endswith(end)]
    return found


def first_layer(p, x):
    """Return [embedded numbers | one-hot colors | embedded towns | sign of the members]."""
    numbers, color, town, member = x[:, :2], x[:, 2], x[:, 3], x[:, 4]
    frequencies, phases = ending(p, "frequencies"), ending(p, "phases")
    waves = torch.cos(2 * math.pi * numbers[:, :, None] * frequencies + phases)
    linear = torch.einsum("ncf,cfs->ncs", waves, ending(p, "periodic_embedding_1.weights"))
    linear = linear + ending(p, "periodic_embedding_1.biases")
    embedded = torch.cat([linear, numbers[:, :, None]], 2).flatten(1)
    off, on, _ = ending(p, "group_2.one_hot_1.levels")
    colors = torch.where(color[:, None] == torch.arange(1, 4), on, off)
    _, first, second = ending(p, "group_4.one_hot_1.levels")
    sign = torch.where(member == 1, first[0], second[0])
    return torch.cat([embedded, colors, ending(p, "table")[town.long()], sign[:, None]], 1)


def forward(p, x, f):
    h = first_layer(p, x) * p["scale_1.factors"]
    for number in (1, 2):
        z = h @ p[f"dense_{number}.weights"] / math.sqrt(h.shape[1]) + p[f"dense_{number}.biases"]
        h = z + p[f"parametric_activation_{number}.alpha"] * (f(z) - z)
    return h @ p["dense_3.weights"] / math.sqrt(h.shape[1]) + p["dense_3.biases"]


def factors_of(name):
    """Return the factors of learning rate and decay; both apply to the decay twice."""
    if name == "scale_1.factors":
        return 6.0, 1.0
    if name.startswith("dense") and name.endswith("biases"):
        return 0.1, 0.0
    return (0.1 if "alpha" in name or "periodic" in name else 1.0), 1.0


def train(p, x, y, f, loss, highest_rate):
    trained = [name for name, value in p.items() if value.requires_grad]
    mean, square = ({name: torch.zeros_like(p[name]) for name in trained} for _ in range(2))
    batches = ROWS // BATCH
    for step in range(EPOCHS * batches):
        t = step / (EPOCHS * batches)
        rate = highest_rate * (0.5 - 0.5 * math.cos(2 * math.pi * math.log2(1 + 15 * t)))
        decay = 0.02 * (1 if t < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1))))
        rows = slice(step % batches * BATCH, (step % batches + 1) * BATCH)
        value = loss(forward(p, x[rows], f), y[rows])
        gradients = torch.autograd.grad(value, [p[name] for name in trained])
        with torch.no_grad():
            for name, gradient in zip(trained, gradients, strict=True):
                of_rate, of_decay = factors_of(name)
                p[name] *= 1 - decay * rate * of_decay**2 * of_rate**2
                mean[name] += 0.1 * (gradient - mean[name])
                square[name] += 0.05 * (gradient**2 - square[name])
                m = mean[name] / (1 - 0.9 ** (step + 1))
                s = square[name] / (1 - 0.95 ** (step + 1))
                p[name] -= rate * of_rate * m / (s.sqrt() + 1e-8)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_three_epochs(task):
    classes = task == "classification"
    y = np.digitize(NUMBER, [0.0, 2.0]) if classes else NUMBER
    recipe = realmlp(
        *(SCHEMA, X, 3 if classes else 1, task),
        hidden_layer_sizes=(32, 16),
        dropout=0.0,  # masks differ from PyTorch's
        epochs=EPOCHS,
        batch_size=BATCH,
    )
    model = gpunn.Sequential(recipe.layers, SCHEMA.width, "numpy", seed=1, dtype="float64")
    start_from_data(model, X)
    p = {name: torch.tensor(value) for name, value in model.parameters.to_host().items()}
    for name, spec in model.parameters.specs.items():
        p[name].requires_grad_(spec.trainable)
    options = {**recipe.options, "callbacks": []}
    trainer = gpunn.Trainer(model, recipe.loss, recipe.optimizer)
    trainer.fit(X, y, shuffle=False, progress=False, **options)

    nn = torch.nn.functional
    if classes:
        target, f, highest_rate = torch.tensor(y), nn.selu, 0.04

        def loss(outputs, targets):
            return nn.cross_entropy(outputs, targets)
    else:
        target, f, highest_rate = torch.tensor((y - y.mean()) / y.std()), nn.mish, 0.2

        def loss(outputs, targets):
            return nn.mse_loss(outputs[:, 0], targets)

    train(p, torch.tensor(X), target, f, loss, highest_rate)
    for name, value in model.parameters.to_host().items():
        if p[name].requires_grad:
            np.testing.assert_allclose(value, p[name].detach().numpy(), 1e-9, 1e-9, err_msg=name)
