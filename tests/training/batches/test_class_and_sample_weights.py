import numpy as np
import pytest

from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from gpunn.training.batches.class_and_sample_weights import check_class_weight, combined_weights

LABELS = np.array([0, 0, 0, 1, 2, 2])
LOSS = SoftmaxCrossEntropy()


def test_sample_weights_alone_are_returned():
    weights = np.arange(6.0)
    assert combined_weights(LOSS, LABELS, weights, None, 3) is weights
    assert combined_weights(LOSS, LABELS, None, None, 3) is None


FIRST = np.array([0, 1, 3])
BINARY = np.array([[0.0], [1.0], [0.9]])


@pytest.mark.parametrize(
    ("targets", "given", "class_weight", "kept", "expected"),
    [
        (LABELS, None, {0: 2, np.int64(2): 0.5}, None, [2, 2, 2, 1, 0.5, 0.5]),
        (LABELS, np.arange(6.0), {2: 10}, None, [0, 1, 2, 3, 40, 50]),
        (LABELS, None, {3: 2}, None, [1] * 6),
        (LABELS, None, {0: 5, 1: 6, 2: 7}, np.array([0, 3, 4]), [5, 1, 1, 6, 7, 1]),
        (np.eye(3)[LABELS], None, {1: 4, 2: 9}, None, [1, 1, 1, 4, 9, 9]),
        (BINARY, None, {1: 4}, None, [1, 4, 4]),
        # So that each class has the same sum, of those that occur in the rows to train on.
        (LABELS, None, "balanced", None, 6 / 3 / np.array([3, 3, 3, 1, 2, 2])),
        (
            LABELS,
            np.arange(1.0, 7),
            "balanced",
            None,
            7 * np.r_[1 / 6, 1 / 3, 1 / 2, 1, 5 / 11, 6 / 11],
        ),
        (np.array([0, 0, 3]), None, "balanced", None, [0.75, 0.75, 1.5]),
        (LABELS, None, "balanced", FIRST, [0.75, 0.75, 1, 1.5, 1, 1]),
    ],
)
def test_weights_of_rows(targets, given, class_weight, kept, expected):
    loss = BinaryCrossEntropy() if targets is BINARY else LOSS
    before = None if given is None else given.copy()
    found = combined_weights(loss, targets, given, class_weight, 4, kept)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("balance", ArgumentError, "expected a mapping or 'balanced'; got 'balance'"),
        ([1, 2, 3], ArgumentTypeError, "expected a mapping or 'balanced'; got list"),
        ({3: 1}, ArgumentError, "there is no class 3; expected integers from 0 to 2"),
        ({-1: 1}, ArgumentError, "there is no class -1"),
        ({"0": 1}, ArgumentError, "there is no class '0'; expected integers"),
        ({0: -1}, ArgumentError, r"class_weight\[0\]: expected a number >= 0; got -1"),
        ({0: "a"}, ArgumentTypeError, r"class_weight\[0\]: expected a number"),
        ({0: float("nan")}, ArgumentError, r"class_weight\[0\]"),
    ],
)
def test_rejected(class_weight, error, message):
    with pytest.raises(error, match=message):
        check_class_weight(class_weight, 3)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2, np.int64(2): 0.5}])
def test_taken(class_weight):
    assert check_class_weight(class_weight, 3) == class_weight


@pytest.mark.parametrize(
    ("loss", "targets"),
    [(MeanSquaredError(), np.zeros((6, 3))), (BinaryCrossEntropy(), np.zeros((6, 3)))],
)
def test_targets_that_are_not_classes(loss, targets):
    with pytest.raises(DataError, match=f"class_weight: the targets of '{loss.name}' are not"):
        combined_weights(loss, targets, None, "balanced", 3)


def test_no_weight_left_in_the_rows_to_train_on():
    with pytest.raises(DataError, match="weight of zero"):
        combined_weights(LOSS, LABELS, np.array([0, 0, 0, 0, 1.0, 1]), None, 3, np.array([0, 1]))
