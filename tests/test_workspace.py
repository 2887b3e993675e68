from unittest.mock import Mock

import numpy as np

from gpunn.backends.numpy import NumpyBackend
from gpunn.workspace import Workspace


def test_buffers_are_allocated_once(backend):
    workspace = Workspace(backend, "float32", 8)
    owner = object()
    full = workspace.rows(owner, "output", 8, (3,))
    assert full.shape == (8, 3)
    assert workspace.rows(owner, "output", 8, (3,)) is full
    assert not backend.to_host(full).any()
    assert workspace.rows(owner, "labels", 3, (), "int64").shape == (3,)
    assert workspace.fixed(owner, "mean", (3,)) is workspace.fixed(owner, "mean", (3,))


def test_fewer_rows_are_a_slice_of_the_same_memory(backend):
    workspace = Workspace(backend, "float32", 8)
    owner = object()
    full, part = (workspace.rows(owner, "output", n, (3,)) for n in (8, 5))
    backend.fill(full, 1.0)
    backend.fill(part, 2.0)
    assert backend.to_host(full).sum(axis=1).tolist() == [6.0] * 5 + [3.0] * 3


def test_bytes():
    workspace = Workspace(NumpyBackend(), "float64", 10)
    workspace.rows("o", "x", 3, (4,))
    workspace.rows("o", "x", 10, (4,))
    workspace.fixed("o", "pixels", (5,), "uint8")
    assert workspace.nbytes == 10 * 4 * 8 + 5


def test_more_rows_than_the_capacity_have_a_buffer_of_their_own():
    workspace = Workspace(NumpyBackend(), "float32", 4)
    few, many = (workspace.rows("layer", "output", rows, (2,)) for rows in (4, 12))
    assert many.shape == (12, 2)
    assert not np.shares_memory(few, many)
    assert np.shares_memory(many, workspace.rows("layer", "output", 9, (2,)))
    assert workspace.rows("layer", "output", 4, (2,)) is few


def test_constants_are_made_once():
    workspace, make = Workspace(NumpyBackend(), "float32", 4), Mock(return_value=np.arange(3))
    first, second = (workspace.constant("layer", "order", make, "int64") for _ in range(2))
    assert first is second
    assert (first.tolist(), make.call_count) == ([0, 1, 2], 1)


def test_settings_are_numbers_unless_a_schedule_moves_them():
    class Owner:
        rate = 0.5

    workspace, owner = Workspace(NumpyBackend(), "float32", 4), Owner()
    assert workspace.setting(owner, "rate") == 0.5
    moving = np.zeros(1)
    workspace.settings = {(id(owner), "rate"): moving}
    assert workspace.setting(owner, "rate") is moving
    assert workspace.setting(Owner(), "rate") == 0.5
