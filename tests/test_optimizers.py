import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpunn import optimizers
from gpunn.backends.operations import Segment, Trained
from gpunn.configurable import known
from gpunn.optimizers import Optimizer

BUILTIN = [cls for cls in known(Optimizer).values() if cls.__module__.startswith("gpunn.")]
RATES = [0.1, 0.05, 0.05, 0.2, 0.01, 0.03, 0.1]


# One parameter at a time, from the papers: (value, its gradients, rates) -> last value.


def sgd(x, gradients, rates, momentum=0.0, nesterov=False):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = momentum * v - rate * g
        x += momentum * v - rate * g if nesterov else v
    return x


def rmsprop(x, gradients, rates, rho=0.9, epsilon=1e-8):
    r = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        r = rho * r + (1 - rho) * g**2
        x -= rate * g / (math.sqrt(r) + epsilon)
    return x


def adam(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0, hat=False):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        x *= 1 - rate * decay
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        if hat:  # the paper's more efficient order of computation, at the end of section 2
            x -= rate * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (math.sqrt(v) + epsilon)
        else:
            x -= rate * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + epsilon)
    return x


def adagrad(x, gradients, rates, epsilon=1e-10):
    total = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        total += g**2
        x -= rate * g / (math.sqrt(total) + epsilon)
    return x


def adadelta(x, gradients, rates, rho=0.9, epsilon=1e-6):
    r = s = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        r = rho * r + (1 - rho) * g**2
        change = math.sqrt(s + epsilon) / math.sqrt(r + epsilon) * g
        s = rho * s + (1 - rho) * change**2
        x -= rate * change
    return x


def adamax(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = u = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, abs(g) + epsilon)  # epsilon as in PyTorch; the paper has none
        x -= rate / (1 - beta1**t) * m / u
    return x


def nadam(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        ahead = beta1 * m / (1 - beta1 ** (t + 1)) + (1 - beta1) * g / (1 - beta1**t)
        x -= rate * ahead / (math.sqrt(v / (1 - beta2**t)) + epsilon)
    return x


def radam(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-8):
    m = v = 0.0
    limit = 2 / (1 - beta2) - 1
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        rho, factor = limit - 2 * t * beta2**t / (1 - beta2**t), 1.0
        if rho > 5:
            r = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
            factor = math.sqrt(r * (1 - beta2**t)) / (math.sqrt(v) + epsilon)
        x -= rate * m / (1 - beta1**t) * factor
    return x


def adabelief(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-16):
    m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + epsilon
        x -= rate * (m / (1 - beta1**t)) / (math.sqrt(s / (1 - beta2**t)) + epsilon)
    return x


def norm_ratio(a, b):
    """||a|| / ||b||, or 1 if a norm is 0."""
    a, b = np.linalg.norm(a), np.linalg.norm(b)
    return a / b if a and b else 1.0


def lamb(x, gradients, rates, beta1=0.9, beta2=0.999, epsilon=1e-6):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        r = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        x = x - rate * norm_ratio(x, r) * r
    return x


def lars(x, gradients, rates, momentum=0.9, trust=0.001):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        v = momentum * v + rate * trust * norm_ratio(x, g) * g
        x = x - v
    return x


def lion(x, gradients, rates, beta1=0.9, beta2=0.99):
    m = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        x -= rate * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
    return x


CASES = [
    (optimizers.SGD(), sgd, {}),
    (optimizers.SGD(momentum=0.9), sgd, {"momentum": 0.9}),
    (optimizers.SGD(momentum=0.8, nesterov=True), sgd, {"momentum": 0.8, "nesterov": True}),
    (optimizers.RMSprop(), rmsprop, {}),
    (optimizers.RMSprop(rho=0.5, epsilon=0.1), rmsprop, {"rho": 0.5, "epsilon": 0.1}),
    (optimizers.Adam(), adam, {}),
    (
        optimizers.Adam(beta1=0.5, beta2=0.9, epsilon=0.1),
        adam,
        {"beta1": 0.5, "beta2": 0.9, "epsilon": 0.1},
    ),
    (optimizers.Adam(beta1=0.0), adam, {"beta1": 0.0}),
    (optimizers.Adam(epsilon=0.1, epsilon_hat=True), adam, {"epsilon": 0.1, "hat": True}),
    (optimizers.AdamW(), adam, {"decay": 0.01}),
    (optimizers.Adagrad(), adagrad, {}),
    (optimizers.Adadelta(rho=0.5), adadelta, {"rho": 0.5}),
    (optimizers.Adamax(beta2=0.5), adamax, {"beta2": 0.5}),
    (optimizers.NAdam(beta1=0.5), nadam, {"beta1": 0.5}),
    (optimizers.RAdam(), radam, {}),
    (optimizers.RAdam(beta2=0.6), radam, {"beta2": 0.6}),
    (optimizers.RAdam(beta2=0.9), radam, {"beta2": 0.9}),
    (optimizers.AdaBelief(beta2=0.9), adabelief, {"beta2": 0.9}),
    (optimizers.Lamb(), lamb, {}),
    (optimizers.Lamb(beta1=0.5, epsilon=0.1), lamb, {"beta1": 0.5, "epsilon": 0.1}),
    (optimizers.Lars(), lars, {}),
    (optimizers.Lars(momentum=0.5, trust=0.1), lars, {"momentum": 0.5, "trust": 0.1}),
    (optimizers.Lion(), lion, {}),
    (optimizers.Lion(beta1=0.5, beta2=0.6), lion, {"beta1": 0.5, "beta2": 0.6}),
]


def run(backend, optimizer, x, gradients, decayed, dtype="float64"):
    values = backend.from_host(x.copy(), dtype)
    slots = {name: backend.zeros(x.shape, dtype) for name in optimizer.slots}
    for t, g in enumerate(gradients, 1):
        rate = backend.from_host(np.array([RATES[t - 1]]), dtype)
        step = backend.from_host(np.array([t]), "int64")
        g = backend.from_host(g.copy(), dtype)
        segments = [Segment(0, decayed, 1.0, 1.0), Segment(decayed, len(x))]
        backend.update(optimizer, Trained(values, g, slots, segments), rate, step)
    return backend.to_host(values)


def example(size=7):
    g = np.random.default_rng(0)
    return g.standard_normal(size), g.standard_normal((len(RATES), size))


@pytest.mark.parametrize(
    ("optimizer", "formula", "parameters"), CASES, ids=[f"{o.name}-{p}" for o, _, p in CASES]
)
def test_several_updates_follow_the_paper(host_backend, optimizer, formula, parameters):
    x, gradients = example()
    actual = run(host_backend, optimizer, x, gradients, decayed=len(x))
    if optimizer.by_parameter:
        expected = formula(x, gradients, RATES, **parameters)
    else:
        columns = zip(x, gradients.T, strict=True)
        expected = [formula(value, column, RATES, **parameters) for value, column in columns]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_every_builtin_has_a_formula():
    assert {type(optimizer) for optimizer, _, _ in CASES} == set(BUILTIN)


@pytest.mark.parametrize("cls", BUILTIN)
def test_an_update_has_a_type_so_that_typed_code_can_call_it(cls):
    assert "return" in cls.update.__annotations__


@pytest.mark.parametrize("cls", BUILTIN)
def test_decay_touches_the_leading_segment_only(host_backend, cls):
    x, gradients = example()
    decaying, plain = cls(weight_decay=0.3), cls(weight_decay=0.0)
    actual = run(host_backend, decaying, x, gradients, decayed=4)
    without = run(host_backend, plain, x, gradients, decayed=4)
    np.testing.assert_array_equal(actual[4:], without[4:])
    assert (actual[:4] != without[:4]).all()


@pytest.mark.parametrize("cls", BUILTIN)
def test_decay_is_decoupled_from_the_gradient(host_backend, cls):
    # Without gradients, an update is only values * (1 - rate * decay).
    x, _ = example()
    actual = run(host_backend, cls(weight_decay=0.3), x, np.zeros((len(RATES), 7)), decayed=7)
    expected = x * math.prod(1 - rate * 0.3 for rate in RATES)
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


@pytest.mark.parametrize("cls", BUILTIN)
def test_gradients_and_step_are_unchanged(host_backend, cls):
    x, gradients = example()
    optimizer, step = cls(), np.array([3])
    slots = {name: np.ones(7) for name in optimizer.slots}
    g, rate = gradients[0].copy(), np.array([0.1])
    host_backend.update(optimizer, Trained(x, g, slots, [Segment(0, 7, 1.0, 1.0)]), rate, step)
    np.testing.assert_array_equal(g, gradients[0])
    assert (rate.item(), step.item()) == (0.1, 3)


@pytest.mark.parametrize("cls", [optimizers.Adam, optimizers.AdamW])
def test_bias_correction_keeps_its_digits_in_single_precision(backend, cls):
    # At t = 1, 1 - beta2^t is 0.001, which float32 arithmetic would compute to only four digits.
    x, gradients = example()
    exact = run(backend, cls(), x, gradients[:1], 7, "float32")
    pairs = zip(x, gradients[0], strict=True)
    expected = [adam(a, [g], RATES[:1], decay=cls.weight_decay) for a, g in pairs]
    np.testing.assert_allclose(exact, expected, rtol=0, atol=4 * np.finfo("float32").eps)


@settings(max_examples=40)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_clipping_bounds_the_norm(gradients, max_norm):
    from gpunn.backends.numpy import NumpyBackend

    before = np.array(gradients)
    after = before.copy()
    NumpyBackend().clip(after, max_norm)
    norm = np.linalg.norm(before)
    expected = before * min(1.0, max_norm / norm) if norm else before
    np.testing.assert_allclose(after, expected, rtol=1e-12, atol=0)


def test_clipping_keeps_nan_where_it_is(host_backend):
    g = np.array([1.0, np.nan])
    host_backend.clip(g, 1.0)
    np.testing.assert_array_equal(g, [1.0, np.nan])
