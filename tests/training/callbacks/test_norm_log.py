import json

import numpy as np
import pytest

import gpunn
from gpunn.backends import Backend
from gpunn.errors import InvalidFileError
from gpunn.training.callbacks.norm_log import NormLog, norms

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X @ np.ones((3, 2))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "norms.jsonl"


def make_trainer(backend: Backend | str = "numpy", **options: object) -> gpunn.Trainer:
    layers = [gpunn.layers.Dense(4, "tanh"), gpunn.layers.BatchNorm(), gpunn.layers.Dense(2)]
    model = gpunn.Sequential(layers, (3,), backend)
    optimizer = gpunn.optimizers.SGD(0.01, **options.pop("optimizer", {}))
    return gpunn.Trainer(model, "mean_squared_error", optimizer, **options)


def read(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_norms_are_those_of_the_arrays(tmp_path, backend):
    trainer, path = make_trainer(backend), tmp_path / "logs" / "norms.jsonl"
    trainer.fit(X, Y, epochs=2, progress=False, callbacks=[NormLog(path)])
    first, last = read(path)
    assert (first["epoch"], last["epoch"]) == (1, 2)
    trained = [name for name, spec in trainer.model.parameters.specs.items() if spec.trainable]
    assert "batch_norm_1.running_mean" not in trained
    to_host = trainer.model.backend.to_host
    for kind, array_of in (
        ("parameters", trainer.model.parameters.__getitem__),
        ("gradients", trainer.model.parameters.gradient),
    ):
        assert list(last[kind]) == trained
        for name, norm in last[kind].items():
            assert norm == pytest.approx(np.linalg.norm(to_host(array_of(name))), rel=1e-5)
    assert first["parameters"] != last["parameters"]


def test_the_gradient_is_that_of_all_accumulated_batches(tmp_path):
    """One update over 40 rows is the same whether they come in one batch or in four."""
    found = []
    for size, accumulation in ((40, 1), (10, 4)):
        model = gpunn.Sequential([gpunn.layers.Dense(2)], (3,), "numpy")
        trainer = gpunn.Trainer(
            model, "mean_squared_error", "sgd", gradient_accumulation=accumulation
        )
        path = tmp_path / f"{size}.jsonl"
        trainer.fit(X, Y, batch_size=size, progress=False, callbacks=[NormLog(path)])
        found.append(read(path)[0]["gradients"])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_the_gradient_is_clipped(path):
    trainer = make_trainer(optimizer={"max_norm": 1e-3})
    trainer.fit(X, Y, progress=False, callbacks=[{"name": "norm_log", "path": str(path)}])
    total = np.sqrt(sum(norm**2 for norm in read(path)[0]["gradients"].values()))
    assert total == pytest.approx(1e-3, rel=1e-4)


def test_epochs_that_are_repeated_are_dropped(path):
    trainer = make_trainer()
    trainer.fit(X, Y, epochs=3, progress=False, callbacks=[NormLog(path)])
    whole = path.read_text()
    path.write_text(whole + '{"epoch": 4, "parameters": {}, "gradients": {}}\n{"epoch": 5, "par')
    callback = NormLog(path)
    callback.on_train_begin(trainer)
    assert path.read_text() == whole


def fit(path, epochs, **options):
    """Train with norms and a checkpoint; return the latter's path."""
    checkpoint = path.with_name("checkpoint.safetensors")
    callbacks = [NormLog(path), gpunn.callbacks.ModelCheckpoint(checkpoint, resumable=True)]
    make_trainer().fit(X, Y, epochs=epochs, progress=False, callbacks=callbacks, **options)
    return checkpoint


@pytest.mark.parametrize("lost", [slice(0), slice(1), slice(1, None)])
def test_lines_that_were_lost_are_restored(path, lost):
    fit(path, 4)
    whole = path.read_bytes()
    path.unlink()
    checkpoint = fit(path, 3)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[lost]))
    fit(path, 4, resume_from=checkpoint)
    assert path.read_bytes() == whole


def test_a_checkpoint_without_norms(path, monkeypatch):
    """As checkpoints were written before they contained norms."""
    with monkeypatch.context() as patch:
        patch.setattr(NormLog, "state", lambda self, trainer: {})
        checkpoint = fit(path, 2)
    fit(path, 3, resume_from=checkpoint)
    assert [row["epoch"] for row in read(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    "damage",
    [
        {"epochs": [1]},
        {"epochs": np.ones(2)},
        {"epochs": np.ones((1, 1), np.int64)},
        {"parameters": np.ones((1, 2))},
        {"gradients": None},
    ],
    ids=str,
)
def test_norms_in_a_checkpoint_that_are_damaged(tmp_path, monkeypatch, damage):
    path, state = tmp_path / "norms.jsonl", NormLog.state
    with monkeypatch.context() as patch:
        patch.setattr(NormLog, "state", lambda *arguments: {**state(*arguments), **damage})
        checkpoint = fit(path, 1)
    with pytest.raises(InvalidFileError, match="the state of the callback 'norm_log' is damaged"):
        fit(path, 2, resume_from=checkpoint)


def test_an_overflow_is_null(tmp_path, backend):
    huge = {"a": backend.from_host(np.full(4, 1e30), "float32")}
    assert norms(backend, huge) == {"a": np.inf}
    assert norms(backend, {}) == {}
