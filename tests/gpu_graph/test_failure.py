"""A failed device: CUDA reports it in some later call, and then in every call."""

import json
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cupy
import numpy as np
import pytest
from click.testing import CliRunner
from digits import configuration
from run_folders import history, same_weights

import gpunn
from gpunn import layers
from gpunn.backends.cupy import CupyBackend, capture
from gpunn.backends.cupy.lowerings import CupyLowerings
from gpunn.callbacks import EarlyStopping
from gpunn.cli import main
from gpunn.errors import DeviceError

pytestmark = [
    pytest.mark.emulated,
    pytest.mark.tier(5),
    # CUDA's answer when CuPy destroys a stream or an event of a failed device.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

X = np.random.default_rng(0).random((40, 4), "float32")
Y = np.arange(40) % 3

FAILING = cupy.RawKernel(
    'extern "C" __global__ void failing(int* left) { assert(--*left >= 0); }', "failing"
)


@dataclass(eq=False)
class Failing(layers.Layer):
    passes: int
    name = "failing_of_test_failure"

    def __post_init__(self):
        super().__post_init__()
        self.left = cupy.array([self.passes], "int32")

    def forward(self, x, workspace):
        FAILING((1,), (1,), (self.left,))
        return x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return gradient


def fit(trainer, **options):
    trainer.fit(X, Y, epochs=9, batch_size=8, progress=False, **options)


def fit_and_restore(trainer):
    """The end of training makes more calls to the failed device."""
    fit(trainer, callbacks=[EarlyStopping(monitor="loss", patience=9, restore_best=True)])


def fit_together(trainer):
    """On a separate stream."""
    gpunn.train_together([trainer.prepare(X, Y, epochs=9, batch_size=8)], progress=False)


USES = {
    "fit": (12, fit),
    "fit, and restore the best epoch": (12, fit_and_restore),
    "fit from a stream": (12, lambda trainer: fit(trainer, stream=True)),
    "fit together": (12, fit_together),
    "evaluate": (0, lambda trainer: trainer.evaluate(X, Y)),
    "predict": (0, lambda trainer: trainer.model.predict(X)),
}


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("use", USES)
def test_the_error_of_a_failed_device_names_the_remedy(use, recorded, emulator, caplog):
    passes, call = USES[use]
    model = gpunn.Sequential(
        [Failing(passes), layers.Dense(3)], 4, backend=CupyBackend(0, graph=recorded)
    )
    trainer = gpunn.Trainer(model, "softmax_cross_entropy")
    with emulator.late_errors():
        with pytest.raises(DeviceError) as caught:
            call(trainer)
        with pytest.raises(DeviceError, match="the device has failed: cudaErrorAssert"):
            model.predict(X)
    message = str(caught.value)
    assert message.startswith("cupy:0: the device has failed: cudaErrorAssert: ")
    assert "CUDA_LAUNCH_BLOCKING=1 and the option graph=False" in message
    assert "last checkpoint" in message
    if passes:
        assert trainer.stop_reason == trainer.history.stopped == f"DeviceError: {message}"
        assert trainer.epoch == 2
    assert not caplog.records


def test_another_status_of_a_library_does_not_hide_the_failure(emulator):
    """cuBLAS has a separate status for a failed device."""
    works, a = CupyBackend(0), cupy.ones((2, 2), "float64")
    with emulator.late_errors():
        FAILING((1,), (1,), (cupy.zeros(1, "int32"),))
        with suppress(cupy.cuda.runtime.CUDARuntimeError):
            a.get()
        with pytest.raises(DeviceError, match="cudaErrorAssert"), works.device_errors():
            works._product(a, a, a, False, False)


def test_other_errors_stay_unchanged_on_a_working_device():
    with pytest.raises(RuntimeError, match="of the user's own"), CupyBackend(0).device_errors():
        raise RuntimeError("of the user's own")


def test_a_failed_device_is_not_a_step_that_cannot_be_recorded(emulator, caplog):
    capture.say_once.cache_clear()
    x, left = cupy.zeros(1, "float32"), cupy.array([0], "int32")

    def operations():
        FAILING((1,), (1,), (left,))
        if cupy.cuda.get_current_stream().is_capturing():
            cupy.cuda.Device(
                0
            ).synchronize()  # raises an error, because CUDA may report the failure here
        x.__iadd__(1)

    device = CupyBackend(0)
    repeated = device.recorded(lambda: device.call(operations))
    with (
        caplog.at_level(logging.WARNING, "gpunn"),
        emulator.late_errors(),
        pytest.raises(DeviceError),
        device.device_errors(),
    ):
        repeated(2)
    assert not caplog.records


def test_a_run_resumes_from_its_last_checkpoint(emulator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits.toml").write_text(configuration(epochs=3, batch_size=500))

    def train(run, *more):
        command = ["train", "digits.toml", "--backend", "cupy:0", "--output", run, "--quiet", *more]
        return CliRunner().invoke(main, command)

    gather, left = CupyLowerings.next_batch, cupy.array([8], "int32")

    def failing(self, op):
        return [partial(FAILING, (1,), (1,), (left,)), *gather(self, op)]

    with monkeypatch.context() as patched, emulator.late_errors():
        patched.setattr(CupyLowerings, "next_batch", failing)
        failed = train("parts")
    assert failed.exit_code == 2, failed.output
    # Earlier lines may be CuPy's messages about graphs that it can't destroy.
    said = failed.output.splitlines()[-1]
    assert said.startswith("Error: cupy:0: the device has failed: cudaErrorAssert")
    assert [row["epoch"] for row in history(Path("parts"))] == [1, 2]
    resumed, whole = train("parts", "--resume"), train("whole")
    assert (resumed.exit_code, whole.exit_code) == (0, 0), resumed.output + whole.output
    assert len(history(Path("parts"))) == 3
    assert same_weights(Path("parts"), Path("whole"))
    assert json.loads((Path("parts") / "config.json").read_text())
