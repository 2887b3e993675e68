"""Named tabular models are calibrated after training, as the tabular estimators are."""

from pathlib import Path

import numpy as np
import pytest

from gpunn.config import parse_config
from gpunn.experiment import build
from gpunn.tabular import scale_temperature

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0, 10, 1500)
KIND = np.where(X + RANDOM.normal(0, 0.2, 1500) > 5, "large", "small")
LABELS = (np.stack([X > 3, X > 7], axis=1) ^ (RANDOM.random((1500, 2)) < 0.3)).astype(int)

MODELS = {
    "classes": {"name": "realmlp", "parameters": {"hidden_layer_sizes": [8], "metric": "accuracy"}},
    "labels": {"name": "tabm", "parameters": {"hidden_layer_sizes": [64], "members": 2}},
    "layers": {"layers": [{"name": "dense", "units": 2}]},
}


@pytest.fixture(params=MODELS)
def experiment(request, tmp_path):
    labels = request.param == "labels"
    targets = LABELS if labels else KIND[:, None]
    lines = [",".join(map(str, (x, *row))) for x, row in zip(X.round(2), targets, strict=True)]
    names = [f"y{number}" for number in range(targets.shape[1])]
    (tmp_path / "table.csv").write_text("\n".join([",".join(["x", *names]), *lines]))
    raw = {
        "data": {"dataset": "table", "path": "table.csv", "validation_fraction": 0.2},
        "model": MODELS[request.param],
        "training": {"epochs": 8, **({"callbacks": []} if labels else {})},
    }
    if request.param == "layers":
        raw["training"]["loss"] = "softmax_cross_entropy"
    raw["data"]["target"] = names if labels else names[0]
    return request.param, build(parse_config(raw, tmp_path), "numpy"), raw, Path(tmp_path)


def test_the_temperature_is_that_of_the_estimators(experiment):
    kind, trained, _, _ = experiment
    trained.run(progress=False)
    network, before = trained.trainer.model, trained.trainer.model.parameters.to_host()
    X, y = trained.splits.validation.inputs(), trained.splits.validation.targets()
    twin = trained.trainer.model.to("numpy")
    temperature = (
        1.0 if kind == "layers" else scale_temperature(twin, twin.encoded(X), y.astype(int))
    )
    assert (temperature != 1) == (kind != "layers")
    trained.calibrate()
    after = network.parameters.to_host()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(changed) == (0 if kind == "layers" else 2)
    for name, values in twin.parameters.to_host().items():
        np.testing.assert_array_equal(after[name], values)


@pytest.mark.parametrize("experiment", ["classes"], indirect=True)
def test_class_weights_exclude_temperatures(experiment):
    _, _, raw, folder = experiment
    raw["training"]["class_weight"] = "balanced"
    trained = build(parse_config(raw, folder), "numpy")
    trained.run(progress=False)
    before = trained.trainer.model.parameters.to_host()
    trained.calibrate()
    for name, values in trained.trainer.model.parameters.to_host().items():
        np.testing.assert_array_equal(before[name], values)
