import numpy as np
import pytest

from gpunn.errors import ArgumentError, ArgumentTypeError, DataError
from gpunn.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from gpunn.training.weights import check_class_weight, combined_weights

LABELS = np.array([0, 0, 0, 1, 2, 2])
LOSS = SoftmaxCrossEntropy()


def test_neither():
    assert combined_weights(LOSS, LABELS, None, None, 3) is None


def test_sample_weights_alone_are_returned():
    weights = np.arange(6.0)
    assert combined_weights(LOSS, LABELS, weights, None, 3) is weights


def test_mapping():
    found = combined_weights(LOSS, LABELS, None, {0: 2, np.int64(2): 0.5}, 3)
    assert found.tolist() == [2, 2, 2, 1, 0.5, 0.5]


def test_product_leaves_the_sample_weights_alone():
    weights = np.arange(6.0)
    found = combined_weights(LOSS, LABELS, weights, {2: 10}, 3)
    assert found.tolist() == [0, 1, 2, 3, 40, 50]
    assert weights.tolist() == [0, 1, 2, 3, 4, 5]


def test_balanced():
    found = combined_weights(LOSS, LABELS, None, "balanced", 3)
    np.testing.assert_allclose(found, 6 / 3 / np.array([3, 3, 3, 1, 2, 2]))
    np.testing.assert_allclose([found[label == LABELS].sum() for label in range(3)], 2)


def test_balanced_counts_with_sample_weights():
    weights = np.array([1, 2, 3, 4, 5, 6.0])
    found = combined_weights(LOSS, LABELS, weights, "balanced", 3)
    np.testing.assert_allclose([found[label == LABELS].sum() for label in range(3)], 7)
    np.testing.assert_allclose(found.sum(), weights.sum())


def test_balanced_over_the_classes_that_occur():
    found = combined_weights(LOSS, np.array([0, 0, 3]), None, "balanced", 5)
    np.testing.assert_allclose(found, [0.75, 0.75, 1.5])


def test_only_rows_to_train_on_count_and_are_weighted():
    kept = np.array([0, 3, 4])
    found = combined_weights(LOSS, LABELS, None, {0: 5, 1: 6, 2: 7}, 3, kept)
    assert found.tolist() == [5, 1, 1, 6, 7, 1]
    found = combined_weights(LOSS, LABELS, None, "balanced", 3, np.array([0, 1, 3]))
    np.testing.assert_allclose(found, [0.75, 0.75, 1, 1.5, 1, 1])


@pytest.mark.parametrize(
    ("loss", "targets", "expected"),
    [
        (LOSS, np.eye(3)[LABELS], [1, 1, 1, 4, 9, 9]),
        (BinaryCrossEntropy(), np.array([[0.0], [1.0], [0.9]]), [1, 4, 4]),
    ],
)
def test_classes_in_other_forms(loss, targets, expected):
    found = combined_weights(loss, targets, None, {1: 4, **({2: 9} if loss is LOSS else {})}, 3)
    assert found.tolist() == expected


def test_a_class_that_does_not_occur_here():
    assert combined_weights(LOSS, LABELS, None, {3: 2}, 4).tolist() == [1] * 6


@pytest.mark.parametrize(
    ("class_weight", "error", "message"),
    [
        ("balance", ArgumentError, "expected a mapping or 'balanced'; got 'balance'"),
        ([1, 2, 3], ArgumentTypeError, "expected a mapping or 'balanced'; got list"),
        ({3: 1}, ArgumentError, "there is no class 3; the network has classes 0 to 2"),
        ({-1: 1}, ArgumentError, "there is no class -1"),
        ({"0": 1}, ArgumentError, "there is no class '0'.* as whole numbers"),
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


def test_no_class_with_a_weight():
    with pytest.raises(DataError, match="together they leave every row to train on with a weight"):
        combined_weights(LOSS, LABELS, None, {0: 0, 1: 0, 2: 0}, 3)


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
