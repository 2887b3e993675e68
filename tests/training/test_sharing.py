"""Networks that share programs get the bits of fits of their own on one thread."""

import gc
import signal
import threading
import tracemalloc
import weakref
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest

import gpunn
from gpunn import callbacks, layers, optimizers
from gpunn.backends.numpy.compiled import backend as compiled
from gpunn.backends.numpy.compiled.sequence import ProgramSequence
from gpunn.errors import ArgumentError, DataError
from gpunn.training import epoch_blocks, sharing
from gpunn.training.epoch import EpochByRequests
from gpunn.training.sharing import sharing_programs
from gpunn.training.training_policy import TrainingPolicy

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(70, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 70)
LOSS = "softmax_cross_entropy"
MACRO = gpunn.metrics.F1("macro")


class Change(callbacks.Callback):
    """Calls a function of the trainer after the third epoch."""

    name = "change"

    def __init__(self, change):
        self.change = change

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == 3:
            self.change(trainer)


class Fails(callbacks.Callback):
    """Fails when further epochs have been computed, since it only reads."""

    name = "fails"
    reads_only = True

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == 3:
            raise ValueError("failed")


def frozen():
    layer = layers.Dense(5)
    layer.trainable = False
    return layer


def hidden(*others):
    """Return functions that make layers."""
    return [lambda: layers.Dense(5, activation="relu"), *others]


def change(setting, value):
    """Return options with a callback that changes a setting."""
    return lambda: {"callbacks": [Change(lambda trainer: setattr(setting(trainer), *value))]}


def set_biases(trainer):
    trainer.model.parameters["dense_1.biases"] = np.ones(5)


def fixed(**options):
    return lambda: options


FACTOR = 0.5


@dataclass(eq=False)
class Bent(gpunn.activations.Activation):
    slope: float = 0.1
    name = "bent"

    def value(self, xp, z):
        return xp.sqrt(z * z + FACTOR) + self.slope * z


class Signed(optimizers.Optimizer):
    name = "signed"
    slots = ("mean",)

    def update(self, xp, values, gradients, slots, learning_rate, step):
        slots["mean"][...] = 0.9 * slots["mean"] + 0.1 * gradients
        values -= learning_rate * xp.tanh(slots["mean"])


class Called(layers.Block):
    """Calls one layer several times, or several layers."""

    name = "called"

    def __init__(self, *others):
        super().__init__()
        self.a, self.b = others

    def forward(self, x):
        return self.a(x) - 0.5 * self.b(x)


class Unmarked(layers.Layer):
    """Is called with arrays in each step."""

    name = "unmarked"

    def forward(self, x, workspace):
        return FACTOR * x

    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return FACTOR * gradient


def bent():
    return layers.Dense(5, Bent(slope=0.2))


def two_masks():
    return Called(layers.Dropout(0.3), layers.Dropout(0.3))


def two_calls():
    return Called(*[layers.Dropout(0.3)] * 2)


DROPOUT = hidden(lambda: layers.Dropout(0.3))
BATCH_NORM = hidden(lambda: layers.BatchNorm())
HALVES = {"validation_split": 0.4}
KINDS = {
    "dropout": (DROPOUT, optimizers.Adam, fixed()),
    "held_out": (DROPOUT, optimizers.SGD, fixed(**HALVES)),
    "norm": (BATCH_NORM, optimizers.RMSprop, fixed(validation_data=(X[:20], LABELS[:20]))),
    "frozen": ([frozen, *hidden()], optimizers.Adam, fixed()),
    "adapted": ([lambda: layers.Standardization(), *hidden()], optimizers.Lion, fixed()),
    "custom": ([bent, two_masks], Signed, fixed(**HALVES)),
    "slope": ([bent], Signed, change(lambda each: each.model.layers[0].f, ("slope", 0.3))),
    "stopped": (
        hidden(),
        optimizers.AdamW,
        lambda: {"callbacks": [callbacks.EarlyStopping("val_loss", patience=1)], **HALVES},
    ),
    "rate": (
        DROPOUT,
        optimizers.Adam,
        change(lambda trainer: trainer.model.layers[1], ("rate", 0.6)),
    ),
    "penalty": (
        hidden(),
        optimizers.Adam,
        change(lambda each: each.optimizer, ("l2_penalty", 1.0)),
    ),
    "beta": (hidden(), optimizers.Adam, change(lambda each: each.optimizer, ("beta1", 0.5))),
    "reports": (hidden(), optimizers.Adam, change(lambda trainer: trainer, ("log_every", 1))),
    "weights": (hidden(), optimizers.Adam, lambda: {"callbacks": [Change(set_biases)]}),
    "fails": (hidden(), optimizers.Adam, lambda: {"callbacks": [Fails()]}),
}
"""Layers, optimizer, and options of `fit`, of kinds of networks."""

UNSHAREABLE = {
    "two calls": ([two_calls], optimizers.Adam, fixed()),
    "unmarked": ([Unmarked], optimizers.Adam, fixed()),
}


def fitted(kind, number, backend, rows=X):
    """Train a network; return everything that must not depend on sharing."""
    parts, optimizer, options = (KINDS | UNSHAREABLE)[kind]
    parts = [*(make() for make in parts), layers.Dense(3)]
    model = gpunn.Sequential(parts, 4, backend, seed=number)
    optimizer = optimizer(0.01 * number, l2_penalty=0.1 * number)
    trainer = gpunn.Trainer(model, LOSS, optimizer, ["accuracy"])
    error = ""
    try:
        trainer.fit(rows, LABELS, epochs=9, batch_size=16, progress=False, **options())
    except ValueError as failed:
        error = str(failed)
    logs = {k: v for k, v in trainer.history.items() if not k.endswith(("seconds", "second"))}
    state = model.parameters.to_host(), trainer.state(), trainer.updates, trainer.epoch
    return logs, state, trainer.history.stopped, error


@pytest.fixture
def long_blocks(unhurried_blocks, monkeypatch):
    """Let blocks have up to five epochs on any machine."""
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 5)


@pytest.fixture
def recorded(monkeypatch):
    """Return a list that receives a truth value for each program: whether it can be shared."""
    programs, make = [], sharing.SharedProgram.__init__

    def init(self, *args):
        make(self, *args)
        programs.append(self._replace is not None)

    monkeypatch.setattr(sharing.SharedProgram, "__init__", init)
    return programs


@pytest.mark.parametrize("context", [nullcontext, sharing_programs])
def test_threads_that_share_programs_get_the_bits_of_separate_fits(
    context, long_blocks, recorded, monkeypatch
):
    one = gpunn.get_backend("numpy", threads=1)
    tasks = [(kind, number) for number in (1, 2, 3) for kind in KINDS]
    left, actual = list(tasks), {}

    def work():
        while left:
            task = left.pop()
            actual[task] = fitted(*task, one)

    with context():
        threads = [threading.Thread(target=work) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    for task in tasks:
        np.testing.assert_equal(actual[task], fitted(*task, one), err_msg=str(task))
    assert recorded
    assert all(recorded)
    assert {actual["fails", n][3] for n in (1, 2, 3)} == {"failed"}


FIRST = {
    "small": ((), 6, (1, 1, 0)),
    "few epochs": ((), 1, (0, 0, 1)),
    "long epochs": (("MAX_WORK", 0), 6, (0, 0, 1)),
    "large updates": (("MAX_WORK_OF_UPDATE", 0), 6, (0, 0, 1)),
}
"""A changed limit, the epochs of the first fit, and the expected numbers (see the test)."""


@pytest.mark.parametrize("name", FIRST)
def test_the_first_or_second_fit_of_a_kind_leaves_a_program_for_later_fits(
    name, programs, long_blocks, recorded, monkeypatch
):
    """Networks with other numbers of threads are of other kinds."""
    changed, epochs, first = FIRST[name]
    if changed:
        monkeypatch.setattr(epoch_blocks, *changed)
    run, by_requests = EpochByRequests.run, []
    monkeypatch.setattr(EpochByRequests, "run", lambda each: by_requests.append(None) or run(each))
    one, two = (gpunn.get_backend("numpy", threads=threads) for threads in (1, 2))
    counts = []
    for number, backend in enumerate([one, one, one, two, one], 1):
        trainer = gpunn.Trainer(gpunn.Sequential([layers.Dense(3)], 4, backend, number), LOSS)
        trainer.fit(X, LABELS, epochs=epochs if number == 1 else 1, progress=False)
        counts.append((len(recorded), len(programs._free), len(by_requests)))
    requests = first[2]
    assert counts == [first, *[(1, 1, requests)] * 2, *[(1, 1, requests + 1)] * 2]


def test_settings_that_callbacks_change_leave_no_programs(programs, long_blocks, recorded):
    for number in (1, 2, 3):
        fitted("rate", number, "numpy")
    assert len(recorded) == len(programs._free) == 1


UNSHARED = {
    "no replaceable rows": ("norm", (ProgramSequence, "replacer", lambda *_: None), [False]),
    "several threads": ("norm", (compiled, "WORTHWHILE", 0.0), [False]),
    "many single epochs": ("weights", (epoch_blocks, "MAX_SINGLE_EPOCHS", 8), []),
}


@pytest.mark.parametrize("case", UNSHARED)
def test_fits_that_cannot_share_a_program(case, long_blocks, recorded, programs, monkeypatch):
    kind, changed, shareable = UNSHARED[case]
    monkeypatch.setattr(*changed)
    two = gpunn.get_backend("numpy", threads=2)
    fits = [fitted(kind, 1, two) for _ in range(4)]
    np.testing.assert_equal(fits[1:], fits[:1] * 3)
    assert recorded == shareable
    assert not programs._free


@pytest.mark.parametrize("context", [nullcontext, sharing_programs])
@pytest.mark.parametrize("kind", UNSHAREABLE)
def test_custom_layers_that_cannot_share_a_program(
    kind, context, long_blocks, recorded, programs, monkeypatch
):
    """Masks of dropout in a layer that is called twice depend on the network's seed in code."""
    one = gpunn.get_backend("numpy", threads=1)
    with context():
        actual = [fitted(kind, number, one) for number in (1, 2, 3, 1)]
    assert not programs._free
    assert not any(recorded)
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(actual, [fitted(kind, number, one) for number in (1, 2, 3, 1)])


@dataclass(eq=False)
class Declares(layers.Block):
    """Declares other parameters if the attributes change."""

    decay: bool = True
    units: int = 4
    name = "declares"

    def own_parameters(self, input_shape):
        shape = (*input_shape, self.units)
        return [gpunn.parameters.ParameterSpec("w", shape, gpunn.initializers.Ones(), self.decay)]

    def forward(self, x):
        return x @ self.values["w"]


@pytest.mark.parametrize(("name", "value"), [("decay", False), ("units", 5)])
def test_declarations_that_change_after_the_network_is_built(
    name, value, programs, long_blocks, monkeypatch
):
    def fitted(before):
        layer = Declares(**before)
        model = gpunn.Sequential([layer, layers.Dense(3)], 4, "numpy", seed=1)
        setattr(layer, name, value)
        trainer = gpunn.Trainer(model, LOSS, optimizers.AdamW(0.01, weight_decay=0.5))
        trainer.fit(X, LABELS, epochs=9, batch_size=16, progress=False)
        return model.parameters.to_host()

    settings = {}, {}, {name: value} if name == "decay" else {}
    actual = [fitted(each) for each in settings]
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(actual, [fitted(each) for each in settings])


def redefine(change):
    namespace = {**vars(Bent), "value": lambda self, xp, z: 0.3 * z}
    change(globals(), "Bent", type("Bent", (gpunn.activations.Activation,), namespace))


CHANGES = {
    "variable": lambda change: change(globals(), "FACTOR", 2.0),
    "method": lambda change: change(Bent, "value", lambda self, xp, z: 0.3 * z),
    "built-in method": lambda change: change(
        gpunn.activations.Activation, "derivative", lambda self, xp, z, a: 0.3 * a
    ),
    "class": redefine,
}


@pytest.mark.parametrize("name", CHANGES)
def test_code_that_changes_between_fits(name, programs, long_blocks, recorded, monkeypatch):
    """For example, a user runs a cell of a notebook again."""

    def change(owner, attribute, value):
        if owner is globals():
            monkeypatch.setitem(owner, attribute, value)
        else:
            monkeypatch.setattr(owner, attribute, value)

    def fits():
        return [fitted("custom", number, "numpy") for number in (1, 2, 3)]

    before = fits()
    CHANGES[name](change)
    after = fits()
    assert recorded == [True, True]
    assert after[0][0]["loss"] != before[0][0]["loss"]
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(after, fits())
    monkeypatch.undo()
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(before, fits())


def test_a_program_is_recorded_again_after_code_changed_during_training(
    programs, long_blocks, recorded, monkeypatch
):
    """The program that the fit used first is released to save memory."""

    class Replace(callbacks.Callback):
        def on_epoch_end(self, trainer, logs):
            changed.setattr(sharing, "MAX_BYTES", 0 if trainer.epoch == 3 else 64 << 20)
            if trainer.epoch == 3:
                changed.setattr(Bent, "value", lambda self, xp, z: 0.3 * z)

    monkeypatch.setitem(KINDS, "replaced", ([bent], Signed, fixed(callbacks=[Replace()])))
    monkeypatch.setitem(KINDS, "bent", ([bent], Signed, dict))
    with monkeypatch.context() as changed:
        fitted("replaced", 1, "numpy")
    actual = [fitted("bent", number, "numpy") for number in (1, 2)]
    assert len(recorded) == 2
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(actual, [fitted("bent", number, "numpy") for number in (1, 2)])


def test_few_kinds_are_remembered(programs, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_KINDS", 2)
    for name in ("dropout", "held_out", "norm", "norm"):
        fitted(name, 1, "numpy")
    assert len(programs.seconds) == 2
    assert len(programs._free) == 3


def test_attributes_of_a_network_are_not_copied(programs, long_blocks):
    model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
    model.lock = threading.Lock()
    trainer = gpunn.Trainer(model, LOSS)
    for _ in range(2):
        trainer.fit(X, LABELS, epochs=6, progress=False)
    assert programs._free


@dataclass(eq=False)
class Storing(gpunn.metrics.ValueMetric):
    """A metric that stores its results."""

    name = "storing"

    def __post_init__(self):
        self.stored = []

    def measure(self, xp, predictions, targets, weights):
        return xp.sum(weights, keepdims=True)

    def result(self, summary, weight):
        self.stored.append(float(summary[0]))
        return len(self.stored)


@pytest.mark.parametrize("options", [{}, HALVES], ids=["training", "validation"])
def test_the_metrics_of_a_fit_compute_its_results(options, programs, long_blocks):
    for _ in range(3):
        metric = Storing()
        model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, "mean_squared_error", metrics=[metric])
        history = trainer.fit(X, X[:, :3], epochs=6, progress=False, **options)
        numbers = history["storing"] + (history["val_storing"] if options else [])
        assert sorted(numbers) == list(range(1, 1 + len(numbers)))
        assert len(metric.stored) == len(numbers)
    assert programs._free


class Locked(gpunn.schedules.Schedule):
    """A schedule with an attribute that cannot be copied."""

    name = "locked"

    def __init__(self):
        self.lock = threading.Lock()

    def over_epoch(self, epoch, updates, duration):
        with self.lock:
            return np.full(updates, 0.01)


def test_a_schedule_that_cannot_be_copied(programs, long_blocks):
    def fitted(rate):
        model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, LOSS, optimizers.Adam(rate))
        trainer.fit(X, LABELS, epochs=6, progress=False)
        return trainer.state(), trainer.history["loss"]

    np.testing.assert_equal([fitted(Locked()) for _ in range(3)], [fitted(0.01)] * 3)
    assert programs._free


class Scores(TrainingPolicy):
    """Whether the policy scores the outputs for validation rows depends on an argument."""

    def __init__(self, names):
        self.validation_metrics = dict.fromkeys(names)

    def score(self, outputs):
        return {name: float(outputs.max()) for name in self.validation_metrics}


def test_policies_of_one_class_with_and_without_scores(programs, long_blocks):
    def fitted(names):
        model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, LOSS)
        trainer.policy = Scores(names)
        trainer.fit(X, LABELS, epochs=6, validation_split=0.4, progress=False)
        return {name: trainer.history[f"val_{name}"] for name in ("loss", *names)}

    several = [(), (), ("a",), ("a",), ("b",)]
    with_a, without = fitted(["a"]), fitted([])
    expected = [without, without, with_a, with_a, {"loss": with_a["loss"], "b": with_a["a"]}]
    np.testing.assert_equal([fitted(names) for names in several], expected)
    assert len(programs._free) == 2


def test_the_last_gradients_after_a_fit_that_shares_a_program(long_blocks):
    def gradients():
        model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, LOSS)
        trainer.fit(X, LABELS, epochs=6, progress=False)
        return trainer.last_gradients()

    np.testing.assert_equal([gradients(), gradients()], [gradients()] * 2)


def test_edges_belong_to_a_network(long_blocks, recorded, monkeypatch):
    """As in TabM, whose folds have different edges. The first network records nothing twice."""

    def fitted(middle, backend):
        embedding = layers.PiecewiseLinearEmbedding([[-1, middle, 1], [0, 1]] * 2, size=2)
        model = gpunn.Sequential([embedding, layers.Dense(3)], 4, backend)
        trainer = gpunn.Trainer(model, LOSS)
        trainer.fit(X, LABELS, epochs=6, progress=False)
        return model.parameters.to_host(), trainer.history["loss"]

    with monkeypatch.context() as changed:
        changed.setattr(epoch_blocks, "MAX_EPOCHS", 0)
        expected = [fitted(middle, gpunn.get_backend("numpy", threads=1)) for middle in (0, 0.5)]
    monkeypatch.setattr(EpochByRequests, "run", None)
    with sharing_programs():
        np.testing.assert_equal([fitted(0, "numpy"), fitted(0.5, "numpy")], expected)
    assert recorded == [True]


class Shifted(gpunn.Sequential):
    """Adds 1 to the inputs."""

    @layers.operations_only
    def forward(self, x, workspace):
        workspace.backend.rescale(x, 1.0, 1.0, x)
        return gpunn.Sequential.forward(self, x, workspace)


def shifted(model):
    """Replace the methods of a network that is not of a subclass."""
    model.forward = Shifted.forward.__get__(model)
    return model


def doubled(model):
    layer = model.layers[0]

    def forward(x, workspace):
        workspace.backend.rescale(x, 2.0, 0.0, x)
        return type(layer).forward(layer, x, workspace)

    layer.forward = forward
    return model


@pytest.mark.parametrize("change", [None, shifted, doubled])
@pytest.mark.parametrize("custom_first", [True, False])
def test_networks_with_passes_of_their_own_share_nothing(change, custom_first, long_blocks):
    def fitted(custom, backend):
        cls = Shifted if custom and change is None else gpunn.Sequential
        model = cls([layers.Dense(5, "relu"), layers.Dense(3)], 4, backend)
        model = change(model) if custom and change else model
        trainer = gpunn.Trainer(model, LOSS)
        trainer.fit(X, LABELS, epochs=6, progress=False)
        return model.parameters.to_host(), trainer.history["loss"]

    cases = [custom_first, not custom_first]
    expected = [fitted(custom, gpunn.get_backend("numpy", threads=1)) for custom in cases]
    with sharing_programs():
        np.testing.assert_equal([fitted(custom, "numpy") for custom in cases], expected)


def test_settings_that_the_caller_changes_before_the_first_block(long_blocks, recorded):
    """The first epochs are a block too, since a fit of the same kind measured an epoch."""

    def fitted(backend):
        model = gpunn.Sequential([layers.Dropout(0.1), layers.Dense(3)], 4, backend, seed=1)
        trainer = gpunn.Trainer(model, LOSS)
        with trainer.prepare(X, LABELS, epochs=6, progress=False) as fit:
            trainer.model.layers[0].rate = 0.7
            fit.advance()
        return trainer.history["loss"]

    expected = fitted(gpunn.get_backend("numpy", threads=1))
    with sharing_programs():
        model = gpunn.Sequential([layers.Dropout(0.1), layers.Dense(3)], 4, "numpy")
        gpunn.Trainer(model, LOSS).fit(X, LABELS, epochs=6, progress=False)
        assert fitted("numpy") == expected
    assert recorded == [True, True]


class Replace(callbacks.Callback):
    """Replaces an object of the trainer after an epoch, or at the beginning (epoch 0)."""

    name = "replace"

    def __init__(self, epoch, attribute, value):
        self.epoch, self.attribute, self.value = epoch, attribute, value

    def on_train_begin(self, trainer):
        if self.epoch == 0:
            setattr(trainer, self.attribute, self.value())

    def on_epoch_end(self, trainer, logs):
        if trainer.epoch == self.epoch:
            setattr(trainer, self.attribute, self.value())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("loss", lambda: gpunn.losses.SoftmaxCrossEntropy(label_smoothing=0.5)),
        ("optimizer", lambda: optimizers.SGD(0.5)),
    ],
)
def test_a_callback_replaces_an_object_for_the_next_epoch(
    attribute, value, long_blocks, monkeypatch
):
    def fitted(backend, epoch=None, **replaced):
        model = gpunn.Sequential([layers.Dense(3)], 4, backend, seed=1)
        parts = {"loss": LOSS, "optimizer": optimizers.Adam(0.01), **replaced}
        trainer = gpunn.Trainer(model, **parts)
        replace = [] if epoch is None else [Replace(epoch, attribute, value)]
        trainer.fit(X, LABELS, epochs=6, batch_size=16, progress=False, callbacks=replace)
        return trainer.history["loss"], model.parameters.to_host()

    one = gpunn.get_backend("numpy", threads=1)
    first, changed = fitted(one), fitted(one, **{attribute: value()})
    late = fitted(one, 3)
    assert late[0][:3] == first[0][:3]
    assert late[0][3] != first[0][3]
    np.testing.assert_equal(fitted(one, 0), changed)
    with sharing_programs():
        np.testing.assert_equal(fitted("numpy", 0), changed)
        np.testing.assert_equal(fitted("numpy", 3), late)
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    np.testing.assert_equal(fitted(one, 3), late)


@pytest.mark.parametrize("attribute", ["metrics", "validation_metrics"])
def test_a_callback_replaces_metrics_for_the_next_epoch(attribute, long_blocks, monkeypatch):
    def fitted(backend, before, epoch=None):
        model = gpunn.Sequential([layers.Dense(3)], 4, backend, seed=1)
        trainer = gpunn.Trainer(model, LOSS, **{attribute: before})
        replace = [] if epoch is None else [Replace(epoch, attribute, lambda: [MACRO])]
        options = {"epochs": 6, "batch_size": 16, "validation_split": 0.4, "progress": False}
        rows = trainer.fit(X, LABELS, callbacks=replace, **options).rows
        return [{k: v for k, v in row.items() if "second" not in k} for row in rows]

    one = gpunn.get_backend("numpy", threads=1)
    late = fitted(one, ["accuracy"], 3)
    assert late == [*fitted(one, ["accuracy"])[:3], *fitted(one, [MACRO])[3:]]
    with sharing_programs():
        assert fitted("numpy", ["accuracy"], 3) == late
    monkeypatch.setattr(epoch_blocks, "MAX_EPOCHS", 0)
    assert fitted(one, ["accuracy"], 3) == late


def test_validation_metrics_that_a_callback_sets_are_checked_and_among_the_names_of_logs():
    model = gpunn.Sequential([layers.Dense(3)], 4, seed=1)
    trainer = gpunn.Trainer(model, LOSS, validation_metrics=["accuracy"])
    options = {"epochs": 6, "validation_split": 0.4, "progress": False}
    replace = Replace(3, "validation_metrics", lambda: [MACRO])
    history = trainer.fit(X, LABELS, callbacks=[replace], **options)
    assert [name for name in trainer.log_names if name[:3] == "val"] == ["val_loss", "val_f1"]
    assert history.best_epoch_by("val_f1") > 3 >= history.best_epoch_by("val_accuracy")
    replace = Replace(8, "validation_metrics", lambda: ["binary_accuracy"])
    with pytest.raises(DataError, match="metric 'binary_accuracy' "):
        trainer.fit(X, LABELS, callbacks=[replace], **options)


def test_a_metric_of_validation_becomes_a_metric_of_training(long_blocks):
    model = gpunn.Sequential([layers.Dense(3)], 4, "numpy", seed=1)
    trainer = gpunn.Trainer(model, LOSS, validation_metrics=["accuracy"])
    replace = Replace(3, "metrics", lambda: trainer.validation_metrics)
    options = {"epochs": 8, "validation_split": 0.4, "progress": False}
    assert len(trainer.fit(X, LABELS, callbacks=[replace], **options)["accuracy"]) == 5


def test_metrics_replaced_within_an_epoch_that_is_interrupted():
    class Interrupt(callbacks.Callback):
        every_updates = 1

        def on_updates_end(self, trainer):
            trainer.metrics = ["accuracy", MACRO]
            signal.raise_signal(signal.SIGINT)

    model = gpunn.Sequential([layers.Dense(3)], 4, seed=1)
    trainer = gpunn.Trainer(model, LOSS)
    options = {"epochs": 2, "batch_size": 16, "progress": False}
    assert not trainer.fit(X, LABELS, callbacks=[Interrupt()], **options)
    assert trainer.history.stopped
    trainer.fit(X, LABELS, **options)
    assert len(trainer.history["accuracy"]) == 2  # the epoch has begun again


@pytest.mark.parametrize(
    ("attribute", "value"), [("gradient_accumulation", 2), ("batch_norm", "local")]
)
def test_a_callback_cannot_replace_what_an_epoch_depends_on(attribute, value):
    trainer = gpunn.Trainer(gpunn.Sequential([layers.Dense(3)], 4), LOSS)
    replace = Replace(1, attribute, lambda: value)
    with pytest.raises(ArgumentError, match=f"{attribute}: was .* only between two calls of fit"):
        trainer.fit(X, LABELS, epochs=2, progress=False, callbacks=[replace])


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_loss_replaced_during_batches_of_a_function(epoch):
    def batches(epoch):
        yield X, -LABELS[:, None] if epoch == 2 else LABELS[:, None]

    model = gpunn.Sequential([layers.Dense(1)], 4)
    trainer = gpunn.Trainer(model, "mean_squared_error")
    replace = Replace(epoch, "loss", gpunn.losses.Poisson)
    options = {"steps_per_epoch": 1, "batch_size": 70, "epochs": 4, "progress": False}
    with pytest.raises(DataError, match="batch 1 of epoch 3: y: poisson needs counts >= 0"):
        trainer.fit(batches, validation_data=batches, callbacks=[replace], **options)
    assert model.output_activation == "exponential"


def test_a_replaced_loss_gives_outputs_another_meaning():
    model = gpunn.Sequential([layers.Dense(1)], 4, seed=1)
    trainer = gpunn.Trainer(model, "binary_cross_entropy")
    replace = Replace(1, "loss", gpunn.losses.MeanSquaredError)
    trainer.fit(X, LABELS > 0, epochs=2, progress=False, callbacks=[replace])
    assert model.output_activation == "identity"


def test_a_replaced_loss_must_fit_the_targets():
    trainer = gpunn.Trainer(gpunn.Sequential([layers.Dense(3)], 4, seed=1), LOSS)
    replace = Replace(1, "loss", gpunn.losses.MeanSquaredError)
    with pytest.raises(DataError, match="the targets must have shape"):
        trainer.fit(X, LABELS, epochs=2, progress=False, callbacks=[replace])


def test_a_replaced_loss_must_need_the_same_format_of_targets():
    class Centered(gpunn.losses.MeanSquaredError):
        name = "centered"

        def check_targets(self, y, outputs):
            return super().check_targets(y, outputs) - 1

    trainer = gpunn.Trainer(gpunn.Sequential([layers.Dense(1)], 4, seed=1), "mean_squared_error")
    with pytest.raises(DataError, match="centered, which needs targets in another format"):
        trainer.fit(X, LABELS, epochs=2, progress=False, callbacks=[Replace(1, "loss", Centered)])


@pytest.mark.parametrize(("limit", "kept"), [(1 << 30, 2), (1, 0)])
def test_unused_programs_keep_little_memory_and_no_rows(
    limit, kept, programs, long_blocks, monkeypatch
):
    monkeypatch.setattr(sharing, "MAX_BYTES", limit)
    with sharing_programs():
        for kind in ("dropout", "held_out"):
            rows = X.copy()
            fitted(kind, 1, "numpy", rows)
            reference = weakref.ref(rows)
            del rows
            gc.collect()
            assert reference() is None
        free = programs._free
        assert len(free) == kept
        assert all(program.nbytes > 5 * 70 * 8 for _, program in free)


def test_a_program_with_slow_epochs_is_only_measured(programs, monkeypatch):
    make, made = sharing.SharedProgram.__init__, []

    def init(self, *args):
        make(self, *args)
        made.append(weakref.ref(self.program.step))

    monkeypatch.setattr(sharing.SharedProgram, "__init__", init)
    monkeypatch.setattr(epoch_blocks, "MAX_SECONDS", 0.0)
    gc.collect()
    gc.disable()  # the memory must not wait for Python's collection of cycles
    try:
        with sharing_programs():
            fitted("held_out", 1, "numpy", X)
            assert programs.seconds
            assert not programs._free
            assert [reference() for reference in made] == [None]
    finally:
        gc.enable()


def test_the_memory_of_unused_programs_includes_their_objects(programs, long_blocks):
    def fit(rate):
        model = gpunn.Sequential([layers.Dropout(rate), layers.Dense(3)], 4, "numpy", seed=1)
        trainer = gpunn.Trainer(model, LOSS)
        trainer.fit(X, LABELS, epochs=6, batch_size=16, progress=False)

    with sharing_programs():
        fit(0.5)  # imports, and fills caches
        tracemalloc.start()
        try:
            fit(0.1)
            fit(0.2)
            gc.collect()
            allocated, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        _, *added = [program.nbytes for _, program in programs._free]
        assert sum(added) / 10 < allocated < sum(added)
