"""Compare the same training on NumPy and on CuPy."""

from collections.abc import Callable
from functools import partial
from typing import Any

import device
import training
from networks import INSPECTED, Make
from process import FAILED, PASSED, Outcome, Step

import gpunn

EPOCHS, BATCH = 3, 128
HIDDEN = (16,) if device.REHEARSAL else (512, 512)

# The effect of rounding was measured on a CPU: NumPy in float32 against float64, in the same three
# epochs. On the digits it changes losses by a relative 2e-7 and no accuracy. Over MNIST's 1407
# steps it grows: training loss 0.4 %, test loss 3 %, test accuracy 0.13 points. For the networks on
# random tables it is a relative 5e-6 or less.
LIMITS = {
    "digits": {"loss": 1e-5, "accuracy": 0.002, "val_loss": 1e-5, "val_accuracy": 0.002},
    "MNIST": {"loss": 0.02, "accuracy": 0.005, "val_loss": 0.1, "val_accuracy": 0.005},
    **{name: {"loss": 1e-4, "val_loss": 1e-4} for name in INSPECTED},
}
"""Tolerances for the logs of an epoch: relative for losses, absolute for accuracies."""

ROWS = 256 if device.REHEARSAL else 512
"""Rows of the networks on random tables."""

Logs = dict[str, list[float]]


def run(step: Step) -> Outcome:
    mnist = None if step.quick else training.mnist()
    trainings: dict[str, Callable[[str], Logs]] = {
        "digits": partial(trained, training.digits()),
        **{name: partial(trained_table, make) for name, make in INSPECTED.items()},
    }
    if mnist is not None:
        trainings["MNIST"] = partial(trained, mnist)
    status, messages = PASSED, []
    for data, train in trainings.items():
        logs = {backend: train(backend) for backend in ("numpy", "cupy")}
        differences = {
            name: training.distance(*(each[name] for each in logs.values()), name.endswith("loss"))
            for name in LIMITS[data]
        }
        step.add({"data": data, "logs": logs, "differences": differences})
        wrong = beyond(differences, LIMITS[data])
        if wrong:
            status = FAILED
            messages.append(f"{data}: differs in {', '.join(wrong)}")
        else:
            largest = max(differences["loss"], differences["val_loss"])
            messages.append(f"{data}: losses within {largest:.1e}")
    return status, "; ".join(messages)


def trained(data: training.Data, backend: str) -> Logs:
    sizes = (data.X.shape[1], *HIDDEN, training.CLASSES)
    trainer = training.trainer(sizes, backend, metrics=("accuracy",))
    return fit(trainer, data.X, data.y, (data.X_test, data.y_test), LIMITS["digits"])


def trained_table(make: Make, backend: str) -> Logs:
    network = make(ROWS)._replace(metric="")
    X, y = network.X, network.y
    return fit(network.trainer(backend), X, y, (X, y), ("loss", "val_loss"))


def fit(trainer: gpunn.Trainer, X: Any, y: Any, validation_data: Any, names: Any) -> Logs:
    history = trainer.fit(
        *(X, y),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation_data=validation_data,
        progress=False,
    )
    return {name: [float(value) for value in history[name]] for name in names}


def beyond(differences: dict[str, float], limits: dict[str, float]) -> list[str]:
    # Not `difference > limit`, so that NaN exceeds it.
    wrong = [name for name in limits if not differences[name] <= limits[name]]
    return [f"{name} by {differences[name]:.1e} (at most {limits[name]:.0e})" for name in wrong]
