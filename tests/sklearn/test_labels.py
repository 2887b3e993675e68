"""Labels of classes are those of scikit-learn, also where its checks are left out."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_array, check_X_y

from gpunn.errors import DataError
from gpunn.sklearn import MLPClassifier, RealMLPRegressor
from gpunn.sklearn.inputs import is_checked
from gpunn.sklearn.labels import accuracy, label_binarizer, most_probable

TWO, THREE = np.array([3, 1, 1, 3, 3, 1]), np.array([2, 0, 1, 2, 0, 1])
VECTORS = [
    *(TWO.astype(dtype) for dtype in ("int8", ">i4", "uint64", "float32", "U3")),
    *(
        TWO == 3,
        THREE,
        THREE.astype("U3").astype(object),
        THREE[:1],
        np.ones(5, int),
        np.eye(4, 3, dtype=int),
    ),
]


@pytest.mark.parametrize("y", VECTORS, ids=str)
def test_label_binarizer(y):
    expected, actual = vars(LabelBinarizer().fit(y)), vars(label_binarizer(y))
    assert actual.pop("classes_").tolist() == expected["classes_"].tolist()
    assert label_binarizer(y).classes_.dtype == expected.pop("classes_").dtype
    assert actual == expected


@pytest.mark.parametrize("y", VECTORS, ids=str)
def test_most_probable(y):
    binarizer = LabelBinarizer().fit(y)
    probabilities = np.random.default_rng(0).random((9, 1 if y.ndim < 2 and len(set(y)) < 3 else 3))
    expected = binarizer.inverse_transform(probabilities)
    actual = most_probable(binarizer, probabilities)
    assert (actual.tolist(), actual.dtype) == (expected.tolist(), expected.dtype)


@pytest.mark.parametrize("y", VECTORS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_accuracy(y, weighted):
    weights = np.linspace(1, 2, len(y)) if weighted else None
    for labels in (y, y[::-1]):
        found = accuracy(y, labels, weights)
        assert found == accuracy_score(y, labels, sample_weight=weights)
        assert type(found) is float
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        accuracy(y, y[:0], weights)


@pytest.mark.parametrize("cls", [MLPClassifier, RealMLPRegressor])
def test_parameter_names(cls):
    class Changed(cls):
        def __init__(self, changed=1):
            self.changed = changed

    assert cls._get_param_names() == BaseEstimator._get_param_names.__func__(cls)
    assert Changed._get_param_names() == ["changed"]


NUMBERS = np.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("X", "y", "expected"),
    [
        (NUMBERS, TWO, True),
        (NUMBERS.T[::-1].T, TWO == 3, True),
        (NUMBERS.astype("float32"), NUMBERS[:, 0], True),
        (NUMBERS, None, True),
        (NUMBERS.astype(">f8"), TWO, False),
        (NUMBERS.astype(int), TWO, False),
        (NUMBERS[0], None, False),
        (NUMBERS[:0], None, False),
        (NUMBERS.tolist(), None, False),
        (np.where(NUMBERS == 3, np.nan, NUMBERS), TWO, False),
        (np.where(NUMBERS == 3, np.inf, NUMBERS), None, False),
        (NUMBERS * 1e307, TWO, False),
        (NUMBERS, TWO.astype(str), False),
        (NUMBERS, TWO[:, None], False),
        (NUMBERS, TWO[1:], False),
        (NUMBERS, np.where(TWO == 3, np.nan, TWO), False),
    ],
)
def test_arrays_that_need_no_check(X, y, expected):
    assert is_checked(X, y) is expected
    if expected:
        checked = check_array(X) if y is None else check_X_y(X, y)[0]
        assert checked is X


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        (np.eye(6, 3, dtype=int), 2 * np.eye(6, 3, dtype=int), "needs targets in"),
        (np.arange(6) % 3, np.tile([1, 1, 0], (6, 1)), "each row of probabilities"),
    ],
    ids=["several labels", "classes"],
)
def test_later_targets_of_another_kind_are_refused(first, later, message):
    X, classifier = np.eye(6), MLPClassifier((2,), max_iter=1, batch_size=2, backend="numpy")
    classifier.partial_fit(X, first, classes=np.arange(3))
    with pytest.raises(DataError, match=message):
        classifier.partial_fit(X, later)
    with pytest.raises(DataError, match=message):
        classifier.fit(X, first, X_val=X, y_val=later)
