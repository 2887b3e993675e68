import itertools

import numpy as np
import pytest

from gpunn.randomness import generator, permutation


def test_golden_values():
    # All saved runs depend on these initial weights and shuffles, so they must never change.
    assert generator(0, "weights", 0).integers(2**32) == 3813292653
    assert generator(7, "dropout", 2).integers(2**32) == 3867957225
    assert permutation(3, 1, 8).tolist() == [5, 2, 3, 4, 1, 7, 0, 6]


def test_same_arguments_give_the_same_stream():
    first, second = generator(1, "weights", 2, 3), generator(1, "weights", 2, 3)
    np.testing.assert_array_equal(first.random(10), second.random(10))


def test_every_argument_counts():
    arguments = [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1), (0, "a", 0, 1)]
    drawn = [tuple(generator(*a).integers(2**32, size=4)) for a in arguments]
    assert len(set(drawn)) == len(arguments)


def test_streams_are_independent():
    draws = [generator(0, "weights", i).standard_normal(4000) for i in range(8)]
    # 28 correlations, each N(0, 1 / 4000) if independent: 5 standard errors.
    for a, b in itertools.combinations(draws, 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(4000)


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_permutation(rows):
    order = permutation(0, 1, rows)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(rows))
    np.testing.assert_array_equal(order, permutation(0, 1, rows))


def test_epochs_and_seeds_shuffle_differently():
    orders = {tuple(permutation(seed, epoch, 50)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="non-negative"):
        generator(-1, "weights")
