import csv

import numpy as np
import pytest

from gpunn.errors import DataError
from gpunn.experiment.predictions import interpret
from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy

LOGITS = np.array([[0.0, np.log(3.0)], [1000.0, -1000.0]])


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def test_softmax():
    found = interpret(LOGITS, SoftmaxCrossEntropy(), None)
    assert found.values.tolist() == [1, 0]
    np.testing.assert_allclose(found.probabilities, [[0.25, 0.75], [1, 0]])


def test_names_of_classes():
    found = interpret(LOGITS, SoftmaxCrossEntropy(), ["no", "yes"])
    assert found.values.tolist() == ["yes", "no"]
    assert rows(found.table(True)) == [
        ["prediction", "probability_no", "probability_yes"],
        ["yes", "0.25", "0.75"],
        ["no", "1", "0"],
    ]


def test_one_yes_or_no_output():
    outputs = np.array([[-np.log(3.0)], [1000.0], [-1000.0]])
    found = interpret(outputs, BinaryCrossEntropy(), ["ham", "spam"])
    assert found.values.tolist() == ["ham", "spam", "ham"]
    np.testing.assert_allclose(found.probabilities, [[0.75, 0.25], [0, 1], [1, 0]])
    assert interpret(outputs, BinaryCrossEntropy(), None).values.tolist() == [0, 1, 0]


def test_several_yes_or_no_outputs():
    found = interpret(LOGITS, BinaryCrossEntropy(), None)
    assert found.values.tolist() == [[0, 1], [1, 0]]
    np.testing.assert_allclose(found.probabilities, [[0.5, 0.75], [1, 0]])
    assert rows(found.table(False))[0] == ["prediction_0", "prediction_1"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_survive_the_text(dtype):
    outputs = np.array([[1 / 3], [-2e-30]], dtype)
    found = interpret(outputs, MeanSquaredError(), None)
    assert found.probabilities is None
    read = np.array([row[0] for row in rows(found.table(True))[1:]]).astype(dtype)
    assert read.tolist() == outputs[:, 0].tolist()


def test_several_numbers():
    found = interpret(np.array([[1.0, 2.5]]), MeanSquaredError(), None)
    assert rows(found.table(False)) == [["prediction_0", "prediction_1"], ["1", "2.5"]]


@pytest.mark.parametrize(
    ("loss", "outputs", "classes"),
    [
        (SoftmaxCrossEntropy(), 3, ["a", "b"]),
        (SoftmaxCrossEntropy(), 2, ["a", "b", "c"]),
        (BinaryCrossEntropy(), 1, ["a"]),
    ],
)
def test_as_many_classes_as_the_network_tells_apart(loss, outputs, classes):
    with pytest.raises(DataError, match="classes: "):
        interpret(np.ones((2, outputs)), loss, classes)
