"""Test which arrays the instructions of batch norm's gradients read."""

import numpy as np
import pytest


@pytest.mark.parametrize("shape", [(64, 3), (64, 300), (2, 300), (4096, 16)])
def test_the_sums_read_no_totals(encode, shape):
    batch = [np.ones(shape, np.float32) for _ in "gx"]
    vectors, totals = np.ones((3, shape[1]), np.float32), np.ones((2, shape[1]), np.float32)
    steps = encode("batch_norm_gradient", *batch, *vectors, *totals)
    summing, last = [each for each in steps if each.kernel == "batch_norm_gradient"]
    given = {id(each) for each in summing.args}
    assert [each for each in summing.reads if id(each) not in given] == []
    assert len(summing.reads) == 5
    assert len(last.reads) == 7
