"""When gradients are exchanged, how they are added, and that each sum reaches its owner."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpunn
from gpunn.distributed import Communicator
from gpunn.distributed.agreement import Agreement
from gpunn.distributed.collectives import Collectives
from gpunn.distributed.overlapped_sum import cut, moves
from gpunn.distributed.shares import ALIGNMENT, block_of
from gpunn.layers import BatchNorm, Dense, Dropout, LayerNorm
from gpunn.training.step import gradient_overlap
from gpunn.training.step.gradient_overlap import parts_by_layer

RANKS = st.integers(1, 20)


@given(st.integers(0, 5000), st.integers(0, 5000), RANKS)
def test_pieces_are_the_part_and_equally_long(start, length, ranks):
    pieces = cut((start, start + length), ranks)
    assert len(pieces) == ranks
    assert [pieces[0][0], pieces[-1][1]] == [start, start + length]
    assert all(one[1] == two[0] for one, two in pairwise(pieces))
    lengths = [stop - start for start, stop in pieces]
    assert max(lengths) <= -(-length // ranks) + ALIGNMENT
    whole = [each for each in lengths if each == lengths[0]]
    assert lengths[: len(whole)] == whole  # then one that is shorter, and empty ones
    assert not any(lengths[len(whole) + 1 :])


@given(st.integers(1, 5000), st.lists(st.integers(0, 5000), max_size=4), RANKS)
def test_each_sum_gets_to_the_owner_once(size, bounds, ranks):
    length = block_of(size, 0, ranks).length
    spans = list(pairwise([0, *sorted(min(each, size) for each in bounds), size]))
    owner = np.full(size, -1)
    for span in spans:
        pieces = cut(span, ranks)
        for move in moves(span, ranks, length):
            first, last = pieces[move.source]
            assert first <= move.start < move.stop <= last
            assert (owner[move.start : move.stop] == -1).all()
            owner[move.start : move.stop] = move.target
    assert owner.tolist() == [position // length for position in range(size)]


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 33])
def test_sums_are_added_in_pairs(rows):
    backend = gpunn.get_backend("numpy")
    values = np.random.default_rng(0).normal(size=(rows, 5)).astype("f4")
    pairs = list(values.copy())
    while len(pairs) > 1:
        pairs = [sum(pairs[k + 1 : k + 2], pairs[k]) for k in range(0, len(pairs), 2)]
    total = Collectives(backend, Agreement.over(Communicator())).sum_in_tree(values)
    np.testing.assert_array_equal(total, pairs[0])


def network():
    layers = [
        Dense(40, activation="relu"),
        BatchNorm(),
        Dropout(0.1),
        Dense(30, activation="relu"),
        LayerNorm(),
        Dense(20, activation="relu"),
        Dense(3),
    ]
    return gpunn.Sequential(layers, (7,), "numpy", dtype="float32")


@pytest.mark.parametrize("frozen", [(), (0, 1), (3, 4)])
@pytest.mark.parametrize("least", [1, 500, 3000, 1 << 20])
def test_parts_are_of_layers_that_are_done_and_all_together_the_whole(least, frozen, monkeypatch):
    monkeypatch.setattr(gradient_overlap, "MIN_BYTES", least)
    model = network()
    model.set_trainable({model.layers[index]: False for index in frozen})
    parts = parts_by_layer(model)
    assert list(parts) == sorted(parts, reverse=True)
    assert list(parts)[-1] == 0
    assert (len(parts) > 1) == (least < 1 << 20) or frozen
    done = np.zeros(model.parameters.values.shape[0], int)
    gradients = model.parameters.gradients
    for index, spans in parts.items():
        for start, stop in spans:
            done[start:stop] += 1
        if index:
            assert sum(stop - start for start, stop in spans) * 4 >= least
        gradients[...] = done
        for layer in model.layers[:index]:
            for array in layer.gradients.values():
                assert not array.any()  # not computed yet, nor exchanged
    assert (done == 1).all()
