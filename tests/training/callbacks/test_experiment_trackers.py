"""MLflow and Weights & Biases, each in a stand-in and, where it is installed, in itself.

The same tests run with both, so that the stand-ins are known to behave as what they stand for.
"""

import importlib.util
import itertools
import json
import re
import struct
import sys
import time
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from calls import Calls
from click.testing import CliRunner
from kills import KillEpoch
from sums import fit

from gpunn.callbacks import MLflow, ModelCheckpoint, WandB
from gpunn.cli import main
from gpunn.errors import ArgumentError, ArgumentTypeError, MissingPackageError, TrackerError

needs = {
    name: pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"needs the extra `{name}`"
    )
    for name in ("mlflow", "wandb")
}


class FakeMLflow:
    """The parts of MLflow that the callback and the tests use, in memory."""

    def __init__(self):
        self.experiments, self.runs = {}, {}
        self.numbers = itertools.count(1)

    def MlflowClient(self, tracking_uri=None):  # noqa: N802
        self.tracking_uri = tracking_uri
        return self

    def get_experiment_by_name(self, name):
        place = self.experiments.get(name)
        return None if place is None else SimpleNamespace(experiment_id=place)

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments) + 1)
        return self.experiments[name]

    def create_run(self, experiment_id, run_name=None):
        info = SimpleNamespace(
            run_id=f"run{next(self.numbers)}",
            run_name=run_name,
            status="RUNNING",
            experiment_id=experiment_id,
        )
        data = SimpleNamespace(params={}, metrics=[])
        self.runs[info.run_id] = SimpleNamespace(info=info, data=data)
        return self.runs[info.run_id]

    def update_run(self, run_id, status=None):
        if run_id not in self.runs:
            raise RuntimeError(f"Run '{run_id}' not found")
        self.runs[run_id].info.status = status

    set_terminated = update_run

    def log_batch(self, run_id, metrics=(), params=()):
        data = self.runs[run_id].data
        assert all(re.fullmatch(r"[\w.\- :/]{1,250}", param.key) for param in params)
        data.params |= {param.key: param.value for param in params}
        data.metrics += metrics

    def get_run(self, run_id):
        return self.runs[run_id]

    def search_runs(self, experiment_ids):
        return [run for run in self.runs.values() if run.info.experiment_id in experiment_ids]

    def get_metric_history(self, run_id, key):
        return [metric for metric in self.runs[run_id].data.metrics if metric.key == key]


def entity(*names):
    return lambda *values: SimpleNamespace(**dict(zip(names, values, strict=True)))


@pytest.fixture
def fake_mlflow(monkeypatch):
    fake = FakeMLflow()
    entities = SimpleNamespace(
        Metric=entity("key", "value", "timestamp", "step"), Param=entity("key", "value")
    )
    modules = {"mlflow": fake, "mlflow.tracking": fake, "mlflow.entities": entities}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return fake


@pytest.fixture(params=["stand-in", pytest.param("itself", marks=needs["mlflow"])])
def mlflow(request, monkeypatch, tmp_path):
    """A callback's arguments, and a client that reads its logs."""
    uri = (tmp_path / "mlruns").as_uri()
    if request.param == "itself":
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        monkeypatch.chdir(tmp_path)
        from mlflow.tracking import MlflowClient

        return {"experiment": "tests", "tracking_uri": uri}, MlflowClient(tracking_uri=uri)
    return {"experiment": "tests", "tracking_uri": uri}, request.getfixturevalue("fake_mlflow")


def runs_of(client):
    return client.search_runs([client.get_experiment_by_name("tests").experiment_id])


def logged(client, run, key):
    return [(metric.step, metric.value) for metric in client.get_metric_history(run, key)]


def test_mlflow(mlflow):
    arguments, client = mlflow
    history = fit(MLflow(**arguments, run_name="first"))
    (run,) = runs_of(client)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    for name in ("loss", "val_mean_absolute_error", "learning_rate", "seconds"):
        found = logged(client, run.info.run_id, name)
        assert found == list(zip([1, 2, 3], history[name], strict=True))
    assert logged(client, run.info.run_id, "epoch") == []
    parameters = client.get_run(run.info.run_id).data.params
    assert parameters["model.layers.0.units"] == "1"
    assert parameters["optimizer.name"] == "sgd"
    assert parameters["optimizer.learning_rate"] == "0.01"


def test_mlflow_of_a_table_whose_columns_have_odd_names(mlflow):
    arguments, client = mlflow
    callback = MLflow(**arguments)
    names = ("price (€)", "price [€]", "a/../b", "größe", "x" * 300, "x" * 301)
    callback.settings = {f"data.columns.{name}": place for place, name in enumerate(names)}
    fit(callback)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    parameters = client.get_run(run.info.run_id).data.params
    assert sorted(parameters.values()) == list("012345")
    for name, value in (("price ___", "0"), ("price ___2", "1"), ("größe", "3")):
        assert parameters[f"data.columns.{name}"] == value


def test_mlflow_of_a_resumed_training(mlflow, path):
    arguments, client = mlflow
    writing = ModelCheckpoint(path, resumable=True)
    with pytest.raises(KeyboardInterrupt):
        fit(MLflow(**arguments), KillEpoch(3), writing, epochs=4)
    history = fit(MLflow(**arguments), epochs=4, resume_from=path)
    (run,) = runs_of(client)
    assert run.info.status == "FINISHED"
    found = logged(client, run.info.run_id, "loss")
    assert dict(found) == dict(zip([1, 2, 3, 4], history["loss"], strict=True))
    assert len(found) == 5, "the third epoch was logged once more"


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (None, "KILLED")], ids=["failed", "killed"]
)
def test_how_an_mlflow_run_ends(mlflow, error, status):
    arguments, client = mlflow
    if error is None:
        reason = "interrupted by Ctrl-C"
        stop = Calls(on_epoch_end=lambda trainer, _: setattr(trainer, "stop_reason", reason))
        fit(MLflow(**arguments), stop)
    else:
        with pytest.raises(error):
            fit(MLflow(**arguments), KillEpoch(2, error))
    assert [run.info.status for run in runs_of(client)] == [status]


def test_a_run_that_is_gone_is_told_before_training(mlflow, tmp_path, path):
    arguments, client = mlflow
    fit(MLflow(**arguments), ModelCheckpoint(path, resumable=True), epochs=2)
    other = {**arguments, "tracking_uri": (tmp_path / "other").as_uri()}
    if isinstance(client, FakeMLflow):
        client.runs.clear()
    with pytest.raises(TrackerError, match="mlflow: cannot start or resume a run"):
        fit(MLflow(**other), epochs=4, resume_from=path)


class FakeWandB:
    """The parts of Weights & Biases that the callback uses; it stores logs for the tests."""

    def __init__(self):
        self.runs = []
        self.numbers = itertools.count(1)

    def init(self, *, project, name, id, resume, reinit, mode, dir, config):
        assert (resume, reinit) == ("allow", "create_new")
        assert mode == "offline"
        run = SimpleNamespace(
            id=id or f"made{next(self.numbers)}", config=config, project=project, rows=[], exit=None
        )
        run.define_metric = lambda name, step_metric=None: None
        run.log = run.rows.append
        run.finish = lambda exit_code: setattr(run, "exit", exit_code)
        self.runs.append(run)
        return run

    def read(self):
        return self.runs


class RealWandB:
    """Reads runs that Weights & Biases stored offline."""

    def __init__(self, folder):
        self.folder = folder

    def read(self):
        """Its process may write for a moment after the run has finished."""
        for _ in range(200):
            found = self.read_now()
            if found and None not in [run.exit for run in found]:
                break
            time.sleep(0.05)
        return found

    def read_now(self):
        from wandb.proto import wandb_internal_pb2

        found = []
        for path in sorted(self.folder.glob("wandb/offline-run-*/run-*.wandb")):
            run = SimpleNamespace(rows=[], exit=None)
            for content in records(path.read_bytes()):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(content)
                kind = record.WhichOneof("record_type")
                if kind == "run":
                    run.id, run.project = record.run.run_id, record.run.project
                    run.config = values(record.run.config.update)
                elif kind == "history":
                    row = values(record.history.item)
                    run.rows.append({key: x for key, x in row.items() if key[0] != "_"})
                elif kind == "exit":
                    run.exit = record.exit.exit_code
            found.append(run)
        return found


def values(items):
    return {item.key or item.nested_key[0]: json.loads(item.value_json) for item in items}


def records(content):
    """The records of a file in LevelDB's log format, after the seven bytes of its header."""
    block, place, parts = 32768, 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield parts
            parts = b""


@pytest.fixture
def fake_wandb(monkeypatch):
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def quiet_wandb(monkeypatch):
    for name, value in (("SILENT", "true"), ("DISABLE_GIT", "true"), ("CONSOLE", "off")):
        monkeypatch.setenv(f"WANDB_{name}", value)


@pytest.fixture(params=["stand-in", pytest.param("itself", marks=needs["wandb"])])
def wandb(request, monkeypatch, tmp_path):
    """A callback's arguments, and a function that reads its runs."""
    arguments = {"project": "tests", "mode": "offline", "path": tmp_path}
    if request.param == "stand-in":
        return arguments, request.getfixturevalue("fake_wandb")
    quiet_wandb(monkeypatch)
    return arguments, RealWandB(tmp_path)


def test_wandb(wandb):
    arguments, reader = wandb
    history = fit(WandB(**arguments))
    (run,) = reader.read()
    assert (run.project, run.exit) == ("tests", 0)
    assert [row["epoch"] for row in run.rows] == [1, 2, 3]
    for name in ("loss", "val_mean_absolute_error", "learning_rate"):
        assert [row[name] for row in run.rows] == history[name]
    assert run.config["model.layers.0.units"] == 1
    assert run.config["optimizer.name"] == "sgd"


@needs["wandb"]
def test_a_run_of_the_program_s_own_is_left_alone(tmp_path, monkeypatch):
    import wandb

    quiet_wandb(monkeypatch)
    with wandb.init(project="own", mode="offline", dir=tmp_path / "own") as own:
        (tmp_path / "ours").mkdir()
        fit(WandB("tests", mode="offline", path=tmp_path / "ours"))
        assert wandb.run is own
        own.log({"still": 1})
    (found,) = RealWandB(tmp_path / "ours").read()
    assert (found.project, found.exit, len(found.rows)) == ("tests", 0, 3)


def test_wandb_of_a_resumed_training(wandb, path):
    arguments, reader = wandb
    with pytest.raises(RuntimeError):
        fit(
            WandB(**arguments),
            KillEpoch(3, RuntimeError),
            ModelCheckpoint(path, resumable=True),
            epochs=4,
        )
    fit(WandB(**arguments), epochs=4, resume_from=path)
    first, second = sorted(reader.read(), key=lambda run: run.exit, reverse=True)
    assert first.id == second.id
    assert (first.exit, second.exit) == (1, 0)
    assert [row["epoch"] for row in second.rows] == [3, 4]


def test_a_tracker_that_fails_later_ends_no_training(fake_wandb, caplog):
    def disconnect(trainer, logs):
        fake_wandb.runs[0].log = Mock(side_effect=ConnectionError("the server is gone"))

    history = fit(WandB(mode="offline"), Calls(on_epoch_end=disconnect), epochs=5)
    assert len(history.rows) == 5
    (told,) = caplog.messages
    assert told.startswith("wandb: logging failed (ConnectionError: the server is")
    assert [row["epoch"] for row in fake_wandb.runs[0].rows] == [1]


def test_only_finite_numbers_are_logged(fake_wandb):
    callback = WandB(mode="offline")
    trainer = SimpleNamespace(
        stop_reason="",
        resumed=False,
        model=SimpleNamespace(config=dict),
        loss=SimpleNamespace(config=dict),
        optimizer=SimpleNamespace(config=dict),
    )
    callback.on_train_begin(trainer)
    callback.on_epoch_end(trainer, {"epoch": 1, "loss": 0.5, "val_auc": float("nan")})
    assert fake_wandb.runs[0].rows == [{"epoch": 1, "loss": 0.5}]


@pytest.mark.parametrize(("callback", "name"), [(MLflow(), "mlflow"), (WandB(), "wandb")])
def test_without_its_package(callback, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=rf"{name} needs .* install '\.\[{name}\]'"):
        fit(callback)


def test_impossible_arguments():
    with pytest.raises(ArgumentTypeError, match="experiment: expected a string; got 3"):
        MLflow(3)
    with pytest.raises(ArgumentError, match="mode"):
        WandB(mode="offlin")


def test_a_configuration_s_run_is_described_by_it(fake_wandb, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(
        'backend = "numpy"\n[data]\ndataset = "digits"\n'
        '[model]\nlayers = [{ name = "dense", units = 10 }]\n'
        '[training]\nloss = "softmax_cross_entropy"\nepochs = 1\n'
        'callbacks = [{ name = "wandb", mode = "offline", path = "tracked" }]\n'
    )
    result = CliRunner().invoke(main, ["train", "a.toml", "--quiet"])
    assert result.exit_code == 0, result.output
    (run,) = fake_wandb.runs
    assert run.config["data.dataset"] == "digits"
    assert run.config["training.epochs"] == 1
    assert run.exit == 0
    again = ["train", "a.toml", "--quiet", "--output", "b"]
    setting = "training.callbacks.0.path=../elsewhere"
    result = CliRunner().invoke(main, [*again, "--set", setting])
    assert result.exit_code == 2
    assert "is outside the run folder" in result.output


def test_a_run_that_was_killed_before_its_first_epoch_goes_on(fake_mlflow, tmp_path):
    """Its id is in the checkpoint of the beginning; the new one has no other."""

    def save_and_die(trainer):
        trainer.save_checkpoint(tmp_path / "checkpoint.safetensors")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(MLflow(), Calls(saves=True, on_train_begin=save_and_die))
    fit(MLflow(), resume_from=tmp_path / "checkpoint.safetensors")
    (run,) = fake_mlflow.runs.values()
    assert [one.step for one in run.data.metrics if one.key == "loss"] == [1, 2, 3]
    trainer_calls_again = MLflow()
    fit(trainer_calls_again)
    fit(trainer_calls_again)
    assert len(fake_mlflow.runs) == 3, "each call of fit is a run"
