import pytest

from gpunn.config import SearchRange
from gpunn.config.override import override
from gpunn.sweep.space import extreme_values, settings_of, suggested

optuna = pytest.importorskip("optuna")

SPACE = {
    "training.optimizer.learning_rate": SearchRange(low=0.001, high=0.1, log=True),
    "training.optimizer": SearchRange(choices=["adam", {"name": "sgd", "momentum": 0.9}]),
    "training.batch_size": SearchRange(low=16, high=64, step=16),
    "seed": SearchRange(low=0, high=5),
    "model.layers.0.rate": SearchRange(low=0, high=0.5, step=0.25),
}


def test_values_are_within_their_ranges():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = {path: set() for path in SPACE}
    for _ in range(40):
        for path, value in suggested(study.ask(), SPACE).items():
            seen[path].add(str(value))
    assert all(0.001 <= float(x) <= 0.1 for x in seen["training.optimizer.learning_rate"])
    assert sum(float(x) < 0.01 for x in seen["training.optimizer.learning_rate"]) > 10
    assert seen["training.optimizer"] == {"adam", "{'name': 'sgd', 'momentum': 0.9}"}
    assert seen["training.batch_size"] == {"16", "32", "48", "64"}
    assert seen["seed"] == set("012345")
    assert seen["model.layers.0.rate"] == {"0.0", "0.25", "0.5"}


def test_a_table_is_set_before_what_is_within_it():
    values = extreme_values(SPACE, last=True)
    raw = {"model": {"layers": [{"name": "dropout"}]}, "training": {"optimizer": "lion"}}
    for setting in settings_of(values):
        override(raw, setting, "adam")
    assert raw == {
        "model": {"layers": [{"name": "dropout", "rate": 0.5}]},
        "training": {
            "optimizer": {"name": "sgd", "momentum": 0.9, "learning_rate": 0.1},
            "batch_size": 64,
        },
        "seed": 5,
    }
    assert extreme_values(SPACE, last=False)["training.optimizer"] == "adam"
