"""The shares of rows and parameters, for any number of processes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpunn.distributed.shares import ALIGNMENT, Shares, block_of, share
from gpunn.errors import ArgumentError

SIZES = st.integers(1, 1024)
ROWS = st.integers(0, 5000)


@given(ROWS, SIZES)
def test_shares_have_each_row_once_and_differ_by_one_row_at_most(rows, size):
    bounds = [share(rows, rank, size) for rank in range(size)]
    assert [bounds[0][0], bounds[-1][1]] == [0, rows]
    assert all(stop == start for (_, stop), (start, _) in pairwise(bounds))
    lengths = {stop - start for start, stop in bounds}
    assert max(lengths) - min(lengths) <= 1


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 4), st.integers(1, 64))
def test_positions_of_all_ranks_are_the_epoch(rows, batch_size, accumulation, size):
    per_update = batch_size * accumulation
    ranks = [Shares.of_rank(rank, size) for rank in range(size)]
    found = [each.positions(rows, batch_size, per_update) for each in ranks]
    assert sorted(np.concatenate(found)) == list(range(rows))
    for shares, positions in zip(ranks, found, strict=True):
        assert (np.diff(positions) > 0).all()
        # Update by update, they are as many as the step asks for.
        counts = np.bincount(positions // per_update, minlength=-(-rows // per_update))
        for number, count in enumerate(counts):
            left = min(per_update, rows - number * per_update)
            assert shares.rows_of(left, batch_size) == count


@given(st.integers(0, 6), st.integers(0, 10), ROWS)
def test_shards_do_not_depend_on_the_number_of_ranks(fewer, more, rows):
    shards, size = 2 ** max(fewer, more), 2 ** min(fewer, more)
    ranks = [Shares.of_rank(rank, size, shards) for rank in range(size)]
    assert [bounds for each in ranks for bounds in each.each(rows)] == [
        share(rows, shard, shards) for shard in range(shards)
    ]
    for each in ranks:
        assert each.bounds(rows) == (each.each(rows)[0][0], each.each(rows)[-1][1])


@given(st.integers(0, 200_000), st.integers(0, 5), st.integers(0, 5))
def test_blocks_have_each_parameter_once(size, log_ranks, log_more):
    ranks, shards = 2**log_ranks, 2 ** (log_ranks + log_more)
    blocks = [block_of(size, rank, ranks, shards) for rank in range(ranks)]
    assert [blocks[0].start, blocks[-1].stop] == [0, size]
    for one, two in pairwise(blocks):
        assert one.stop == two.start
    for one in blocks:
        assert one.start % ALIGNMENT == 0 or one.start == size
        assert 0 <= one.stop - one.start <= one.length
    pieces = {block_of(size, 0, shards).length * (shards // ranks)}
    assert {one.length for one in blocks} == pieces


@pytest.mark.parametrize(
    ("size", "shards", "message"),
    [
        (2, 3, "shards: expected a power of two, or 0 for one shard per process; got 3"),
        (3, 4, "shards: 4 shards can't be divided among 3 processes"),
        (8, 4, "start a number of processes that divides 4, or set shards = 0"),
    ],
)
def test_impossible_shards_are_refused(size, shards, message):
    with pytest.raises(ArgumentError, match=message):
        Shares.of_rank(0, size, shards)
