"""Callbacks by name, their arguments, and the metrics that they monitor."""

import pickle
import subprocess
import sys

import pytest
from scripted_trainer import Ranking, Scripted

from gpunn.callbacks import Callback, CSVLog, EarlyStopping, JSONLinesLog, ModelCheckpoint
from gpunn.configurable import known
from gpunn.errors import ArgumentError, ArgumentTypeError

BY_NAME = {name: cls for name, cls in known(Callback).items() if cls.__module__[:6] == "gpunn."}


@pytest.mark.parametrize(
    "callback", [EarlyStopping("ranking"), ModelCheckpoint("x", monitor="ranking")]
)
def test_a_metric_that_does_not_say_which_way_is_better(callback):
    with pytest.raises(ArgumentError, match="mode: can't decide whether a larger or a smaller"):
        Scripted(["epoch", "ranking"]).run(callback, [0.5], "ranking")


@pytest.mark.parametrize(("larger", "best"), [(True, 3), (False, 1)])
def test_a_metric_of_ones_own_says_which_way_is_better(tmp_path, monkeypatch, larger, best):
    monkeypatch.setattr(Ranking, "larger_is_better", larger)
    values = [0.5, 0.75, 0.875, 0.625]
    stopping = EarlyStopping("ranking")
    assert Scripted(["epoch", "ranking"]).run(stopping, values, "ranking") == 4
    assert stopping.best_epoch == best
    this = Scripted(["epoch", "ranking"])
    this.run(ModelCheckpoint(tmp_path / "best", monitor="ranking"), values, "ranking")
    assert this.saved[-1] == (best, "best")


@pytest.mark.parametrize(
    "callback", [EarlyStopping("val_los"), ModelCheckpoint("x", monitor="val_los")]
)
def test_a_figure_that_there_will_not_be(callback):
    with pytest.raises(ArgumentError, match=r"no value 'val_los'.*did you mean 'val_loss'"):
        Scripted().run(callback, [1])


def test_known_callbacks():
    assert set(BY_NAME) == {
        *("early_stopping", "model_checkpoint", "norm_log", "json_lines_log", "csv_log"),
        *("live_plot", "mlflow", "tensorboard", "wandb"),
    }


@pytest.mark.parametrize("name", BY_NAME)
def test_callbacks_can_be_pickled(name):
    """As in an estimator's `callbacks`, which a search passes to other processes."""
    cls = BY_NAME[name]
    callback = cls(path="a") if "path" in cls.__dataclass_fields__ else cls()
    assert pickle.loads(pickle.dumps(callback)).config() == callback.config()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(patience=0), ArgumentError, "patience: expected an integer >="),
        (lambda: EarlyStopping(patience=1.5), ArgumentTypeError, "patience"),
        (lambda: EarlyStopping(min_delta=-1), ArgumentError, "min_delta: expected a number >= 0"),
        (lambda: EarlyStopping(ties="best"), ArgumentError, "ties: there is no ties 'best'"),
        (lambda: EarlyStopping(mode="up"), ArgumentError, "mode: expected 'auto', .* got 'up'"),
        (lambda: EarlyStopping(None), ArgumentTypeError, "monitor: expected the name of .* None"),
        (lambda: ModelCheckpoint("a", 1), ArgumentTypeError, "monitor: expected .*; got 1"),
        (lambda: EarlyStopping(restore_best="no"), ArgumentTypeError, "restore_best: expected"),
        (lambda: ModelCheckpoint(None), ArgumentTypeError, "path: expected the name of a f.* None"),
        (
            lambda: ModelCheckpoint("a", resumable="no"),
            ArgumentTypeError,
            "resumable: expected Tru",
        ),
        (lambda: CSVLog(None), ArgumentTypeError, "path: expected the name of a file; got None"),
        (lambda: JSONLinesLog(""), ArgumentTypeError, "path: expected the name of a file; got ''"),
    ],
)
def test_impossible_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_callbacks_are_known_by_name_to_a_trainer():
    """In a process that has imported nothing else."""
    program = (
        "import gpunn; gpunn.Trainer\n"
        "from gpunn.configurable import known\n"
        "from gpunn.training.callbacks import Callback\n"
        "names = set(known(Callback))\n"
        "from gpunn import callbacks\n"
        "assert set(known(Callback)) == names, set(known(Callback)) - names\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["on_epoch_begin", "on_train_batch_end"])
def test_a_method_that_would_never_be_called(name):
    with pytest.raises(ArgumentTypeError, match=rf"Mine\.{name}: a trainer never calls this"):
        type("Mine", (Callback,), {name: lambda self, trainer: None})


def test_other_names_are_free():
    class Mine(Callback):
        name = "mine_in_test"
        on_error, on_last_end = "raise", 3

        def on_improvement(self):
            """Called by `on_epoch_end`."""

        @property
        def on_resume_start(self):
            return True

    assert Mine().on_resume_start
