"""Estimators for tables on every backend: the same training, and pickles that need no device."""

import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from gpunn.errors import BackendUnavailableError
from gpunn.sklearn import RealMLPClassifier, RealMLPRegressor, TabMClassifier, TabMRegressor

ROWS = 60
RANDOM = np.random.default_rng(0)
X = {
    "size": np.where(RANDOM.random(ROWS) < 0.2, np.nan, RANDOM.normal(size=ROWS)),
    "colour": RANDOM.choice(["red", "green"], ROWS).tolist(),
    "town": [f"town {number % 10}" for number in range(ROWS)],
}
NUMBER = np.nan_to_num(X["size"]) + (np.array(X["colour"]) == "red")
CLASS = np.digitize(NUMBER, [0.0, 1.0])
FAST = {"epochs": 3, "hidden_layer_sizes": (6,), "batch_size": 16, "random_state": 0}
TABM = {**FAST, "members": 2, "bins": 4}

CASES = {
    "realmlp classes": (RealMLPClassifier, CLASS, FAST),
    "realmlp numbers": (RealMLPRegressor, NUMBER, FAST),
    "realmlp simplified": (RealMLPClassifier, CLASS, {**FAST, "simplified": True}),
    "tabm mini": (TabMClassifier, CLASS, TABM),
    "tabm full": (TabMRegressor, NUMBER, {**TABM, "kind": "full"}),
    "tabm packed": (TabMRegressor, NUMBER, {**TABM, "kind": "packed"}),
}


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same_on_every_backend(backend, case):
    kind, y, options = CASES[case]
    here, there = (kind(backend=each, **options).fit(X, y) for each in (backend, "numpy"))
    assert here.network_.backend.name == here.backend_ == backend.name
    assert here.device_ == backend.describe()["device"]
    assert here.validation_score_ == pytest.approx(there.validation_score_, rel=1e-3, abs=0.1)
    values, expected = (each.network_.parameters.to_host() for each in (here, there))
    if here.best_epoch_ == there.best_epoch_:
        for name, value in values.items():
            np.testing.assert_allclose(value, expected[name], 1e-2, 1e-3, err_msg=name)
    assert type(here.predict(X)) is np.ndarray


OPEN = """
    import pickle, sys
    sys.modules["cupy"] = None
    import numpy as np
    from gpunn.errors import BackendUnavailableError

    estimator, X, expected = pickle.load(open(sys.argv[1], "rb"))
    try:
        estimator.predict(X)
    except BackendUnavailableError as error:
        print("CuPy" in str(error))
    print(np.allclose(estimator.set_params(backend="numpy").predict(X), expected, atol=1e-4))
    """


@pytest.mark.tier(5)
def test_pickles_made_on_a_device_open_without_one(tmp_path):
    regressor = RealMLPRegressor(backend="cupy", **FAST).fit(X, NUMBER)
    file = tmp_path / "regressor.pickle"
    file.write_bytes(pickle.dumps((regressor, X, regressor.predict(X))))
    environment = {k: v for k, v in os.environ.items() if k != "GPUNN_TEST_DEVICE"}
    opened = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(OPEN), str(file)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert opened.stdout.split() == ["True", "True"], opened.stderr


def test_a_missing_device_is_an_error():
    regressor = TabMRegressor(**TABM).fit(X, NUMBER)
    opened = pickle.loads(pickle.dumps(regressor)).set_params(backend="cupy:99")
    with pytest.raises(BackendUnavailableError):
        opened.predict(X)
    with pytest.raises(BackendUnavailableError):
        opened.fit(X, NUMBER)
    np.testing.assert_array_equal(opened.set_params(backend=None).predict(X), regressor.predict(X))
