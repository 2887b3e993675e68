"""The realistic networks: all libraries do the same work."""

import numpy as np
import pytest

from gpunn.schedules import Cosine, WarmUp

REALISTIC = [
    *("table-regression", "image-classifier", "tiny", "wide", "robust-regression", "multi-label"),
    *("double-precision", "estimator-classifier", "estimator-regressor"),
]
METRICS = {"softmax_cross_entropy": "accuracy", "binary_cross_entropy": "binary_accuracy"}


@pytest.fixture
def small(load):
    module = load("realistic")
    tasks = {task.name: task for task in module.REALISTIC}
    assert list(tasks) == REALISTIC

    def build(name, **changes):
        task = tasks[name]
        return task._replace(
            **{
                "sizes": (7, *[6 for _ in task.sizes[1:-1]], task.sizes[-1]),
                "batch_size": 48,
                "learning_rate": 0.05,
                "metrics": task.metrics or (METRICS.get(task.loss, "mean_absolute_error"),),
                "max_norm": 0.1 if task.max_norm else None,
                "weight_decay": 2.0 if task.weight_decay else 0.0,
                "l2_penalty": 3.0 if task.l2_penalty else 0.0,
                **changes,
            }
        )

    return build


@pytest.fixture
def train(load, monkeypatch):
    """Return the logs of a few epochs of one batch each, so that no shuffle matters."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    def run(adapter, task, epochs=3):
        rows, logs = load("work").synthetic(task, 1), []
        if rows.weights is not None:  # some libraries assume a mean of 1 in an L2 penalty
            rows = rows._replace(weights=rows.weights / rows.weights.mean())

        def after_epoch(epoch):
            logs.append([epoch.logs[name] for name in ("loss", *task.metrics)])
            return len(logs) == epochs

        load("adapters").load(adapter).train(task, rows, 3, after_epoch)
        return np.array(logs)

    return run


@pytest.mark.parametrize("name", REALISTIC)
def test_gpunn_trains_each_network(small, train, name):
    logs = train("with_gpunn.Gpunn", small(name))
    assert np.isfinite(logs).all()
    assert logs[2, 0] < logs[0, 0]


PEERS = [
    ("with_jax.Scan", "optax"),
    ("with_torch.Eager", "torch"),
    ("with_keras.Keras", "keras"),
]


@pytest.mark.filterwarnings("default")  # of the libraries' own
@pytest.mark.parametrize("name", REALISTIC)
@pytest.mark.parametrize(("adapter", "module"), PEERS)
def test_losses_and_metrics_of_the_first_steps_are_those_of_gpunn(
    small, train, adapter, module, name
):
    pytest.importorskip(module)
    task = small(name, dropout=0.0)
    if task.schedule != "constant" and not task.momentum:
        # Short enough to matter. Velocities of PyTorch and optax don't include the learning rate.
        task = task._replace(epochs=6, warm_up=min(task.warm_up, 2))
    expected, actual = train("with_gpunn.Gpunn", task), train(adapter, task)
    if task.l2_penalty:  # some libraries include it in the loss
        expected, actual = expected[:, 1:], actual[:, 1:]
    np.testing.assert_allclose(actual, expected, rtol=5e-4)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("adapter", "module"), [("with_gpunn.Gpunn", "gpunn"), *PEERS])
def test_dropout_is_on_in_training(small, train, adapter, module):
    pytest.importorskip(module)
    without, with_dropout = (train(adapter, small("tiny", dropout=d), 1) for d in (0.0, 0.5))
    assert abs(with_dropout[0, 0] / without[0, 0] - 1) > 0.01


@pytest.mark.parametrize("name", REALISTIC)
def test_targets_suit_the_loss(load, small, name):
    task = small(name)
    X, y, weights = load("work").synthetic(task, 2)
    assert (X.shape, X.dtype) == ((96, 7), task.dtype)
    assert (weights is not None) == task.weighted
    if task.loss == "softmax_cross_entropy":
        assert (y.shape, y.dtype) == ((96,), np.int64)
        assert set(y.tolist()) == set(range(task.sizes[-1]))
    else:
        assert (y.shape, y.dtype) == ((96, task.sizes[-1]), task.dtype)
    if task.loss == "binary_cross_entropy":
        assert set(np.unique(y)) == {0, 1}


@pytest.mark.parametrize("warm_up", [0, 3])
def test_rates_are_those_of_gpunns_schedules(load, warm_up):
    task = load("work").Task((2, 1), 1, "sgd", 0.2, schedule="cosine", warm_up=warm_up, epochs=10)
    time = np.arange(0.125, 10, 0.25)
    schedule = WarmUp(Cosine(0.2), warm_up) if warm_up else Cosine(0.2)
    np.testing.assert_allclose(task.rate(time), schedule.at(time, 10))
