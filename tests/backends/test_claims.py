import multiprocessing
import os

import pytest

from gpunn.backends.selection import claim


def ask(subject):
    return claim(subject), os.getpid()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_one_worker_claims(method):
    """The workers of a pool run at the same time, so one of them gets the claim."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        answers = set(pool.map(ask, [f"workers of {method}"] * 20, chunksize=1))
    assert len({process for claimed, process in answers if claimed}) == 1


def test_what_the_parent_has_claimed_is_not_its_workers():
    assert claim("parent")
    assert claim("parent")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (answer,) = pool.map(ask, ["parent"])
    assert answer[0] is False


def test_a_claim_ends_with_its_process():
    for _ in range(2):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            (answer,) = pool.map(ask, ["short life"])
            pool.close()
            pool.join()
        assert answer[0] is True
