"""Compare the same training on NumPy and on CuPy."""

from __future__ import annotations

import device
import training
from process import FAILED, PASSED, Outcome, Step

EPOCHS, BATCH = 3, 128
HIDDEN = (16,) if device.REHEARSAL else (512, 512)

# The effect of rounding was measured on a CPU: NumPy in float32 against float64, in the same three
# epochs. On the digits it changes losses by a relative 2e-7 and no accuracy. Over MNIST's 1407
# steps it grows: training loss 0.4 %, test loss 3 %, test accuracy 0.13 points.
LIMITS = {
    "digits": {"loss": 1e-5, "accuracy": 0.002, "val_loss": 1e-5, "val_accuracy": 0.002},
    "MNIST": {"loss": 0.02, "accuracy": 0.005, "val_loss": 0.1, "val_accuracy": 0.005},
}
"""Tolerances for the logs of an epoch: relative for losses, absolute for accuracies."""

Logs = dict[str, list[float]]


def run(step: Step) -> Outcome:
    """Train on the digits, and on MNIST if available; compare the logs of each epoch."""
    mnist = None if step.quick else training.mnist()
    status, messages = PASSED, []
    for data in filter(None, (training.digits(), mnist)):
        logs = {backend: trained(data, backend) for backend in ("numpy", "cupy")}
        differences = {
            name: training.distance(*(each[name] for each in logs.values()), name.endswith("loss"))
            for name in LIMITS["digits"]
        }
        step.add({"data": data.name, "logs": logs, "differences": differences})
        wrong = beyond(differences, LIMITS[data.name])
        if wrong:
            status = FAILED
            messages.append(f"{data.name}: differs in {', '.join(wrong)}")
        else:
            largest = max(differences["loss"], differences["val_loss"])
            messages.append(f"{data.name}: losses within {largest:.1e}")
    return status, "; ".join(messages)


def trained(data: training.Data, backend: str) -> Logs:
    """Train with the same initial weights and order of rows, and return the logs."""
    sizes = (data.X.shape[1], *HIDDEN, training.CLASSES)
    history = training.trainer(sizes, backend, metrics=("accuracy",)).fit(
        *(data.X, data.y),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation_data=(data.X_test, data.y_test),
        progress=False,
    )
    return {name: [float(value) for value in history[name]] for name in LIMITS["digits"]}


def beyond(differences: dict[str, float], limits: dict[str, float]) -> list[str]:
    """Return descriptions of differences that exceed their limits."""
    # Not `difference > limit`, so that NaN exceeds it.
    wrong = [name for name in limits if not differences[name] <= limits[name]]
    return [f"{name} by {differences[name]:.1e} (at most {limits[name]:.0e})" for name in wrong]
