import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from equality import assert_arrays

import gpunn
from gpunn.callbacks import Callback, CSVLog, EarlyStopping, JSONLinesLog, ModelCheckpoint
from gpunn.configurable import known
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.metrics import Accuracy, Metric
from gpunn.monitor import directions
from gpunn.optimizers import Adam
from gpunn.training import History

X = np.random.default_rng(0).normal(size=(20, 3))
Y = X.sum(axis=1)


def trainer(optimizer=None, seed=0):
    model = gpunn.Sequential([gpunn.layers.Dense(1)], 3, "numpy", seed)
    return gpunn.Trainer(model, "mean_squared_error", optimizer or Adam(0.1))


def fit(this, **options):
    return this.fit(X, Y, **{"epochs": 3, "batch_size": 8, "progress": False, **options})


class Ranking(Metric):
    name = "ranking"


class Scripted:
    """Stands for a trainer whose epochs have prescribed logs."""

    def __init__(self, log_names=("epoch", "loss", "val_loss")):
        self.log_names = list(log_names)
        self.larger_is_better = directions([Accuracy(), Ranking()])
        self.history = History()
        self.epoch = self.updates = 0
        self.stop_reason = ""
        self.restored = None
        self.saved = []
        self.model = SimpleNamespace(save=lambda path: self.saved.append((self.epoch, path.name)))

    def snapshot(self):
        return self.epoch

    def restore(self, snapshot):
        self.restored = snapshot

    def save_checkpoint(self, path):
        self.saved.append((self.epoch, path.name, "resumable"))

    def run(self, callback, losses, name="val_loss"):
        """Run epochs until the callback ends training; return their number."""
        callback.on_train_begin(self)
        for count, loss in enumerate(losses, 1):  # noqa: B007
            self.epoch += 1
            self.history.append({"epoch": self.epoch, name: loss})
            callback.on_epoch_end(self, self.history.rows[-1])
            if self.stop_reason:
                break
        callback.on_train_end(self)
        return count


# ----------------------------------------------------------------------------------- EarlyStopping


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
    ("options", "losses", "epochs", "best"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 1], 4, 2),
        ({"patience": 2}, [3, 2, 2, 1, 1, 1, 0], 6, 4),
        ({"patience": 2, "ties": "last"}, [3, 2, 2, 3, 2, 4, 4, 1], 7, 5),
        ({"patience": 2, "ties": "last", "mode": "max"}, [3, 3, 2, 2, 4], 4, 2),
        ({"patience": 2, "ties": "last", "min_delta": 0.5}, [3, 2.5, 2.25, 2.5, 1], 4, 2),
        ({"patience": 2, "ties": "last", "min_delta": 0.5}, [3, 3, 3, 3, 3], 3, 1),
        ({"patience": 2, "ties": "last"}, [1, float("inf"), float("nan"), 0], 3, 1),
        ({"patience": 1}, [3, 4], 2, 1),
        ({"patience": 3}, [3, 2, 1], 3, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 1], 3, 1),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.3, 2.2], 5, 3),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 2, 2, 5], 5, 3),
        ({"patience": 2}, [1, float("nan"), float("nan"), 0], 3, 1),
    ],
)
def test_early_stopping(options, losses, epochs, best):
    this, callback = Scripted(), EarlyStopping(**options)
    assert this.run(callback, losses) == epochs
    assert (callback.best_epoch, callback.best) == (best, losses[best - 1])
    assert this.restored == best
    assert bool(this.stop_reason) == (epochs - best >= callback.patience)
    if this.stop_reason:
        assert this.stop_reason == (
            f"val_loss has not improved since epoch {best} ({losses[best - 1]:.6g})"
        )


def test_early_stopping_knows_what_is_better():
    this, callback = Scripted(["val_accuracy"]), EarlyStopping("val_accuracy", patience=2)
    assert this.run(callback, [0.1, 0.5, 0.4, 0.3, 0.9], "val_accuracy") == 4
    assert callback.best == 0.5


@pytest.mark.parametrize(
    ("options", "losses"),
    [({"restore_best": False}, [1, 2, 3, 4]), ({}, [float("nan")] * 3)],
    ids=["not asked for", "never a number"],
)
def test_early_stopping_restores_nothing(options, losses):
    this = Scripted()
    assert this.run(EarlyStopping(patience=3, **options), losses) == len(losses)
    assert this.stop_reason
    assert this.restored is None


def test_early_stopping_begins_anew_with_each_call():
    this, callback = Scripted(), EarlyStopping(patience=2)
    this.run(callback, [1, 2, 2, 2])
    this.stop_reason = ""
    assert this.run(callback, [float("nan"), 5, 4, 4, 4]) == 5
    assert (callback.best_epoch, callback.best) == (6, 4)


def test_early_stopping_restores_weights_and_optimizer():
    """The loss of the third call's epochs is worse by construction: the rate has become huge."""
    good, this = (trainer(Adam(gpunn.schedules.Step(0.1, every=2, factor=300))) for _ in range(2))
    fit(good, epochs=2)
    callback = EarlyStopping("loss", patience=2)
    history = fit(this, epochs=10, callbacks=[callback])
    assert callback.best_epoch == 2
    assert history.stopped.startswith("loss has not improved since epoch 2")
    np.testing.assert_array_equal(this.model.parameters.values, good.model.parameters.values)
    for name in ("optimizer.mean", "optimizer.square", "updates"):
        np.testing.assert_array_equal(this.state()[name], good.state()[name])


@pytest.mark.parametrize(
    "callback", [EarlyStopping("val_los"), ModelCheckpoint("x", monitor="val_los")]
)
def test_a_figure_that_there_will_not_be(callback):
    with pytest.raises(ArgumentError, match=r"no metric 'val_los'.*did you mean 'val_loss'"):
        Scripted().run(callback, [1])


# --------------------------------------------------------------------------------- ModelCheckpoint


def test_checkpoint_after_each_epoch(tmp_path):
    path = tmp_path / "new" / "folder" / "model.safetensors"
    this = trainer()
    fit(this, epochs=2, callbacks=[ModelCheckpoint(path)])
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    loaded = gpunn.load_model(path, "numpy")
    np.testing.assert_array_equal(loaded.parameters.values, this.model.parameters.values)


def test_checkpoint_of_each_epoch(tmp_path):
    fit(trainer(), callbacks=[ModelCheckpoint(f"{tmp_path}/{{epoch}}-{{x}}.st")])
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{i}-{{x}}.st" for i in (1, 2, 3)]


def test_checkpoint_of_the_best(tmp_path):
    this = Scripted()
    this.run(ModelCheckpoint(tmp_path / "best", monitor="val_loss"), [3, 4, 2, float("nan"), 2, 1])
    assert [epoch for epoch, _ in this.saved] == [1, 3, 6]
    this.saved.clear()
    this.run(ModelCheckpoint(tmp_path / "best", "loss", "max"), [3, 4, 2, 5], "loss")
    assert [epoch for epoch, _ in this.saved] == [7, 8, 10]


def test_checkpoint_of_a_resumed_run_keeps_the_best_so_far(tmp_path):
    callback = ModelCheckpoint(tmp_path / "best", monitor="val_loss", resumable=True)
    this = Scripted()
    this.run(callback, [3, 1, 2])
    assert this.saved == [(1, "best", "resumable"), (2, "best", "resumable")]
    (tmp_path / "best").touch()
    this.saved.clear()
    other = ModelCheckpoint(tmp_path / "best", monitor="val_loss")
    this.run(other, [2, 1.5, 0.5])
    assert this.saved == [(6, "best")]
    (tmp_path / "best").unlink()
    this.saved.clear()
    this.run(other, [4, 5])
    assert this.saved == [(7, "best")], "a file that is gone keeps nothing"


# -------------------------------------------------------------------------------------------- logs


@pytest.mark.parametrize("path", ["{epoch}-{updates}.safetensors", "{epoch}/[a].safetensors"])
def test_what_killed_writers_have_left_goes(tmp_path, path):
    for epoch in (1, 2, 17):
        torn = tmp_path / path.format(epoch=epoch, updates=7)
        torn.parent.mkdir(exist_ok=True)
        torn.with_name(f".{torn.name}.{epoch:08x}.part").write_bytes(b"torn")
    (tmp_path / ".other.safetensors.00000000.part").touch()
    fit(trainer(), callbacks=[ModelCheckpoint(tmp_path / path, resumable=True)])
    left = [file.name for file in tmp_path.rglob("*.part")]
    assert left == [".other.safetensors.00000000.part"]


def test_the_file_just_written_stays(tmp_path):
    """Even if files of an earlier, longer training have larger numbers."""
    for epoch in (97, 98, 99):
        (tmp_path / f"{epoch}.safetensors").touch()
    fit(trainer(), epochs=1, callbacks=[ModelCheckpoint(tmp_path / "{epoch}.safetensors", keep=2)])
    assert (tmp_path / "1.safetensors").exists()


def test_json_lines_log(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    this = trainer()
    fit(this, callbacks=[JSONLinesLog(path)])
    fit(this, epochs=1, validation_split=0.2, callbacks=[JSONLinesLog(path)])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == this.history.rows
    assert rows[0]["learning_rate"] == 0.1
    assert "val_loss" in rows[3]


def test_json_has_no_nan(tmp_path):
    path = tmp_path / "log.jsonl"
    Scripted().run(JSONLinesLog(path), [1.5, float("nan"), float("inf")])
    assert path.read_text().splitlines() == [
        '{"epoch": 1, "val_loss": 1.5}',
        '{"epoch": 2, "val_loss": null}',
        '{"epoch": 3, "val_loss": null}',
    ]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log(tmp_path):
    path = tmp_path / "new" / "log.csv"
    this = trainer()
    fit(this, validation_split=0.2, callbacks=[CSVLog(path)])
    fit(this, epochs=1, validation_split=0.2, callbacks=[CSVLog(path)])
    rows = read_csv(path)
    assert list(rows[0]) == this.log_names
    assert [{name: float(value) for name, value in row.items()} for row in rows] == [
        {name: float(value) for name, value in row.items()} for row in this.history.rows
    ]


@pytest.mark.parametrize(
    ("there", "lines"),
    [
        ("val_loss,epoch\n7,1\n", ["val_loss,epoch", "7,1", "0.5,1"]),
        ("", ["epoch,val_loss", "1,0.5"]),
    ],
)
def test_csv_log_keeps_the_order_of_a_file_that_is_there(tmp_path, there, lines):
    path = tmp_path / "log.csv"
    path.write_text(there)
    Scripted(["epoch", "val_loss"]).run(CSVLog(path), [0.5])
    assert path.read_text().splitlines() == lines


def test_csv_log_of_other_columns_does_not_begin(tmp_path):
    path = tmp_path / "log.csv"
    this = trainer()
    fit(this, callbacks=[CSVLog(path)])
    before, values = path.read_text(), this.model.parameters.to_host()
    with pytest.raises(ArgumentError, match=r"csv_log.path: .*log.csv has the columns .*another"):
        fit(this, validation_split=0.2, callbacks=[CSVLog(path)])
    assert path.read_text() == before
    assert_arrays(this.model.parameters.to_host(), values)


# ---------------------------------------------------------------------------------- configurations


def test_known_callbacks():
    names = {name for name, cls in known(Callback).items() if cls.__module__.startswith("gpunn.")}
    assert names == {
        *("early_stopping", "model_checkpoint", "norm_log", "json_lines_log", "csv_log"),
        *("live_plot", "mlflow", "tensorboard", "wandb"),
    }


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping(patience=0), ArgumentError, "patience: expected an integer >="),
        (lambda: EarlyStopping(patience=1.5), ArgumentTypeError, "patience"),
        (lambda: EarlyStopping(min_delta=-1), ArgumentError, "min_delta: expected a number >= 0"),
        (lambda: EarlyStopping(ties="best"), ArgumentError, "ties: there is no ties 'best'"),
        (lambda: EarlyStopping(mode="up"), ArgumentError, "mode: expected 'auto', .* got 'up'"),
        (
            lambda: EarlyStopping(restore_best="no"),
            ArgumentTypeError,
            "restore_best: expected True",
        ),
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
