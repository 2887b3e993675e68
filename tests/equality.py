"""What tests compare of trained networks."""

import numpy as np

TIMES = {"seconds", "samples_per_second"}


def rows(history):
    """Return the rows of a history without what a clock says."""
    return [{name: row[name] for name in row if name not in TIMES} for row in history.rows]


def values(this):
    return np.concatenate([a.reshape(-1) for a in this.model.parameters.to_host().values()])


def assert_arrays(found, expected, **tolerance):
    compare = np.testing.assert_allclose if tolerance else np.testing.assert_array_equal
    for name, array in expected.items():
        compare(found[name], array, err_msg=name, **tolerance)


def assert_same_bits(one, other, but=()):
    """Two mappings have the same arrays but for some, NaN and the sign of zeros included."""
    assert one.keys() == other.keys()
    for name in one.keys() - set(but):
        assert one[name].tobytes() == other[name].tobytes(), name


def assert_same_weights(one, other):
    assert_arrays(other.model.parameters.to_host(), one.model.parameters.to_host())


def assert_same(one, other):
    """Two trainers are where bit for bit the same run would be."""
    assert rows(one.history) == rows(other.history)
    assert (one.epoch, one.updates) == (other.epoch, other.updates)
    assert_same_weights(one, other)
    assert_arrays(other.state(), one.state())
