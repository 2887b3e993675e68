"""Test derivatives of custom activations and losses that define only their function."""

import gc
import weakref
from dataclasses import dataclass

import array_api_compat.numpy as xp
import array_api_strict
import numpy as np
import pytest

import gpunn
from gpunn import activations, losses
from gpunn.activations import Activation
from gpunn.backends import Backend
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.expressions import derived
from gpunn.losses import Loss

Z = np.random.default_rng(0).uniform(-6, 6, (8, 5))


def assert_near(actual, expected, tolerance=1e-10):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


class Squared(Activation):
    """c z^2: the factor is a number or an array."""

    name = "squared_for_tests"
    factor = 1.0

    def value(self, xp, z):
        return self.factor * z * z


@pytest.fixture
def traces(monkeypatch):
    found = []
    derived.CACHE.clear()
    original = derived.expression_of

    def counted(*arguments):
        found.append(1)
        return original(*arguments)

    monkeypatch.setattr(derived, "expression_of", counted)
    return found


@pytest.mark.parametrize("library", [xp, array_api_strict], ids=["numpy", "strict"])
def test_calls_find_a_derivative_once(library, traces):
    f, z = Squared(), library.asarray(Z)
    for factor in (2.0, 2.0, 3.0, 2.0):
        f.factor = factor
        assert_near(np.asarray(f.derivative(library, z, None)), 2 * factor * Z)
    assert len(traces) == 2
    Squared().derivative(library, z[:3, :], None)
    Squared().derivative(library, z[:3, :], None)
    assert len(traces) == 3


def test_an_array_in_an_attribute_is_read_in_each_call(traces):
    f = Squared()
    f.factor = np.ones(1)
    for factor in (1.0, 4.0):
        f.factor[0] = factor
        assert_near(f.derivative(xp, Z, None), 2 * factor * Z)
    assert len(traces) == 1


def test_the_cache_keeps_neither_objects_nor_classes():
    class Local(Squared):
        name = "local_for_tests"

    f = Local()
    f.factor = np.ones(1)
    f.derivative(xp, Z, None)
    array, kind = weakref.ref(f.factor), weakref.ref(Local)
    del f
    assert array() is None
    del Local
    gc.collect()
    assert kind() is None


def test_the_cache_is_bounded():
    f = Squared()
    for k in range(2 * derived.LIMIT):
        f.factor = 1.0 + k
        f.derivative(xp, Z[:1], None)
    assert len(derived.CACHE[Squared]) <= derived.LIMIT


@dataclass(frozen=True)
class OfOther(Activation):
    """The product of another activation and its derivative, which are traced together."""

    inner: Activation

    name = "of_other_for_tests"

    def value(self, xp, z):
        a = self.inner.value(xp, z)
        return a * self.inner.derivative(xp, z, a)


def test_a_derivative_of_a_derivative():
    cubic = OfOther(Squared())  # z^2 * 2z
    assert_near(cubic.derivative(xp, Z, None), 6 * Z * Z)
    assert_near(OfOther(activations.Tanh()).derivative(xp, Z, None), second_of_tanh(Z))


def second_of_tanh(z):
    t = np.tanh(z)
    return (1 - t * t) ** 2 - 2 * t * t * (1 - t * t)


def test_a_written_derivative_may_use_the_derived_one():
    class Clipped(Squared):
        def derivative(self, xp, z, a):
            return xp.minimum(super().derivative(xp, z, a), 1.0)

    assert_near(Clipped().derivative(xp, Z, None), np.minimum(2 * Z, 1))


@pytest.mark.parametrize(
    ("function", "expected"), [(lambda xp, z: z > 0, 0), (lambda xp, z: z, 1)], ids=["step", "z"]
)
def test_constant_derivatives_have_the_shape_of_z(function, expected):
    class Constant(Activation):
        def value(self, xp, z):
            return function(xp, z)

    result = Constant().derivative(xp, Z.astype(np.float32), None)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.full(Z.shape, expected))


def test_from_output_needs_a_derivative():
    with pytest.raises(ArgumentTypeError, match="KeepsOutput: with from_output = True, "):

        class KeepsOutput(Activation):
            from_output = True

            def value(self, xp, z):
                return 2 * z


class Counting(Activation):
    def value(self, xp, z):
        self.calls = getattr(self, "calls", 0) + 1
        return z


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda self, xp, z: xp.sort(z), "xp.sort"),
        (lambda self, xp, z: z + Z, "type ndarray"),
        (lambda self, xp, z: activations.softmax(xp, z), "is not elementwise"),
        (lambda self, xp, z: z * z[:, :1], "is not elementwise"),
        (lambda self, xp, z: z.__imul__(2), "changes its arguments"),
        (Counting.value, "changes attributes"),
    ],
)
def test_activations_without_a_derivative_are_refused(function, reason):
    class Refused(Activation):
        value = function

    f = Refused()
    said = f"Refused: gpunn can't find .* method value. Reason: .*{reason}.* Write the method der"
    with pytest.raises(ArgumentError, match=said):
        f.derivative(xp, Z, f.value(xp, Z.copy()))


@pytest.mark.parametrize("of_set", [False, True])
def test_attributes_that_can_not_be_compared_are_refused(of_set):
    f = Squared()
    f.other = {1, 2} if of_set else (lambda: f)
    with pytest.raises(ArgumentError, match="attribute"):
        f.derivative(xp, Z, None)


def test_a_loss_that_combines_rows_is_refused():
    class Contrast(Loss):
        def values(self, xp, predictions, targets):
            return xp.mean((predictions - xp.mean(predictions, axis=0)) ** 2, axis=1)

    with pytest.raises(ArgumentError, match=r"Contrast: .*several rows. Write the method grad"):
        Contrast().gradients(xp, Z, Z)


class OfColumns(Loss):
    """Gaussian likelihood of one target, from a mean and the logarithm of a variance."""

    def values(self, xp, predictions, targets):
        mean, log_variance = predictions[:, :1], predictions[:, 1:]
        scaled = (targets - mean) ** 2 * xp.exp(-log_variance)
        return 0.5 * xp.sum(scaled + log_variance, axis=1)


def test_the_gradients_of_columns():
    predictions, targets = Z[:, :2].copy(), Z[:, 2:3]
    mean, log_variance = predictions[:, :1], predictions[:, 1:]
    error, precision = mean - targets, np.exp(-log_variance)
    expected = np.hstack([error * precision, 0.5 - 0.5 * error**2 * precision])
    assert_near(OfColumns().gradients(xp, predictions, targets), expected)


class Doubled(activations.Tanh):
    def value(self, xp, z):
        return 2 * super().value(xp, z)


class Straight(activations.Tanh):
    """A straight-through estimator: says which derivative to use."""

    derivative = activations.Tanh.derivative

    def value(self, xp, z):
        return xp.sign(z)


class Fourth(losses.MeanSquaredError):
    def terms(self, xp, predictions, targets):
        return (predictions - targets) ** 4


class Tripled(losses.SoftmaxCrossEntropy):
    def values(self, xp, predictions, targets):
        return 3 * super().values(xp, predictions, targets)


class Summed(losses.Huber):
    def scale(self, outputs):
        return 1.0


def test_a_class_that_redefines_a_built_in_function_has_its_derivative():
    tanh = np.tanh(Z)
    assert not Doubled.from_output
    assert_near(Doubled().derivative(xp, Z, None), 2 - 2 * tanh**2)
    assert Straight.from_output
    assert_near(Straight().derivative(xp, Z, tanh), 1 - tanh**2)
    assert_near(Fourth().gradients(xp, Z, 0 * Z), 4 * Z**3 / Z.shape[1])
    labels = np.arange(len(Z)) % Z.shape[1]
    written = losses.SoftmaxCrossEntropy().gradients(xp, Z, labels)
    assert_near(Tripled().gradients(xp, Z, labels), 3 * written)
    assert Summed.slopes is losses.Huber.slopes


def test_integers_become_float64_as_in_numpy():
    predictions, targets = Z[:, :2], np.arange(16).reshape(8, 2)
    written = losses.Huber().gradients(xp, predictions, targets)
    assert_near(Loss.gradients(losses.Huber(), xp, predictions, targets), written)
    with pytest.raises(
        ArgumentError, match="of integers is not supported, because the result is float64"
    ):
        Loss.gradients(losses.Huber(), xp, predictions.astype(np.float32), targets)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_batches_of_few_rows(rows):
    predictions, targets = Z[:rows, :2], Z[:rows, 2:3]
    whole = OfColumns().gradients(xp, Z[:, :2], Z[:, 2:3])
    assert_near(OfColumns().gradients(xp, predictions, targets), whole[:rows])
    entropy, shares = losses.SoftmaxCrossEntropy(), activations.softmax(xp, Z[:rows, 3:])
    written = entropy.gradients(xp, predictions, shares)
    assert_near(Loss.gradients(entropy, xp, predictions, shares), written)


class Sorting(Activation):
    """Can neither be compiled nor be differentiated."""

    name = "sorting_for_tests"

    def value(self, xp, z):
        return xp.sort(z, axis=1)


@pytest.mark.parametrize("backend", ["numpy", Backend(xp)], ids=["compiled", "called"])
def test_training_names_the_method_to_write(backend):
    model = gpunn.Sequential([gpunn.layers.Dense(4, Sorting()), gpunn.layers.Dense(1)], 3, backend)
    trainer = gpunn.Trainer(model, "mean_squared_error")
    with pytest.raises(ArgumentError, match=r"Sorting: .*Reason: xp.sort is not supported. Write"):
        trainer.fit(np.ones((8, 3)), np.ones((8, 1)), progress=False)
