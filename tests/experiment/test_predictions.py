import numpy as np
import pytest

from gpunn.errors import DataError
from gpunn.experiment.predictions import interpret
from gpunn.rows.predictions import predictions_text

LOGITS = np.array([[0.0, np.log(3.0)], [1000.0, -1000.0]])


def test_softmax():
    found = interpret(LOGITS, "softmax", None)
    assert found.values.tolist() == [1, 0]
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75], [1, 0]])


def test_names_of_classes():
    found = interpret(LOGITS, "softmax", ["no", "yes"])
    assert found.values.tolist() == ["yes", "no"]
    assert found.names(True) == ["prediction", "probability_no", "probability_yes"]
    assert [values for values, _ in found.rows(True)] == [["yes"], ["no"]]
    np.testing.assert_allclose([p for _, p in found.rows(True)], found.probabilities)
    assert list(found.rows(False)) == [(["yes"], []), (["no"], [])]


def test_one_yes_or_no_output():
    outputs = np.array([[-np.log(3.0)], [1000.0], [-1000.0]])
    found = interpret(outputs, "sigmoid", ["ham", "spam"])
    assert found.values.tolist() == ["ham", "spam", "ham"]
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.25], [0, 1], [1, 0]])
    assert interpret(outputs, "sigmoid", None).values.tolist() == [0, 1, 0]


def test_several_yes_or_no_outputs():
    found = interpret(LOGITS, "sigmoid", None)
    assert found.values.tolist() == [[0, 1], [1, 0]]
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.75], [1, 0]])
    assert found.names(False) == ["prediction_0", "prediction_1"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_survive_the_text(dtype):
    outputs = np.array([[1 / 3], [-2e-30]], dtype)
    found = interpret(outputs, "identity", None)
    assert found.probabilities is None
    text = predictions_text(
        found.rows(True), ["prediction"], "csv", 9 if dtype == "float32" else 17
    )
    read = np.array(text.split()).astype(dtype)
    assert read.tolist() == outputs[:, 0].tolist()


def test_several_numbers():
    found = interpret(np.array([[1.0, 2.5]]), "identity", None)
    assert found.names(False) == ["prediction_0", "prediction_1"]
    assert list(found.rows(False)) == [([1.0, 2.5], [])]


@pytest.mark.parametrize(
    ("activation", "outputs", "classes"),
    [
        ("softmax", 3, ["a", "b"]),
        ("softmax", 2, ["a", "b", "c"]),
        ("sigmoid", 1, ["a"]),
    ],
)
def test_as_many_classes_as_the_network_tells_apart(activation, outputs, classes):
    with pytest.raises(DataError, match="classes: "):
        interpret(np.ones((2, outputs)), activation, classes)
