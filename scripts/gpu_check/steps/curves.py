"""The same training on NumPy and on CuPy, side by side."""

from __future__ import annotations

import device
import training
from process import FAILED, PASSED, Outcome, Step

EPOCHS, BATCH = 3, 128
HIDDEN = (16,) if device.REHEARSAL else (512, 512)

# What rounding alone does was seen on a CPU, NumPy in float32 against float64, in the same three
# epochs. On the digits it moves a loss by 2e-7 of itself and no accuracy. Over MNIST's 1407 steps
# it grows: a training loss by 0.4 %, a test loss by 3 %, a test accuracy by 0.13 points.
LIMITS = {
    "digits": {"loss": 1e-5, "accuracy": 0.002, "val_loss": 1e-5, "val_accuracy": 0.002},
    "MNIST": {"loss": 0.02, "accuracy": 0.005, "val_loss": 0.1, "val_accuracy": 0.005},
}
"""How far an epoch's logs may be apart: losses relative to NumPy's, accuracies as they are."""

Logs = dict[str, list[float]]


def run(step: Step) -> Outcome:
    """Train the digits, and MNIST where it is, on both; compare the logs of each epoch."""
    mnist = None if step.quick else training.mnist()
    status, said = PASSED, []
    for data in filter(None, (training.digits(), mnist)):
        logs = {backend: trained(data, backend) for backend in ("numpy", "cupy")}
        apart = {
            name: training.distance(*(each[name] for each in logs.values()), name.endswith("loss"))
            for name in LIMITS["digits"]
        }
        step.add({"data": data.name, "logs": logs, "differences": apart})
        wrong = beyond(apart, LIMITS[data.name])
        if wrong:
            status = FAILED
            said.append(f"{data.name}: differs in {', '.join(wrong)}")
        else:
            largest = max(apart["loss"], apart["val_loss"])
            said.append(f"{data.name}: losses within {largest:.1e}")
    return status, "; ".join(said)


def trained(data: training.Data, backend: str) -> Logs:
    """Return the logs of a training from the same weights in the same order."""
    sizes = (data.X.shape[1], *HIDDEN, training.CLASSES)
    history = training.trainer(sizes, backend, metrics=("accuracy",)).fit(
        *(data.X, data.y),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation_data=(data.X_test, data.y_test),
        progress=False,
    )
    return {name: [float(value) for value in history[name]] for name in LIMITS["digits"]}


def beyond(apart: dict[str, float], limits: dict[str, float]) -> list[str]:
    """Return what is further apart than it may be."""
    # Not `apart > limit`: a NaN must be wrong.
    wrong = [name for name in limits if not apart[name] <= limits[name]]
    return [f"{name} by {apart[name]:.1e} (at most {limits[name]:.0e})" for name in wrong]
