import multiprocessing
import os

import pytest

from gpunn.backends.selection import claim


def ask(subject):
    return claim(subject), os.getpid()


@pytest.mark.parametrize("method", ["spawn", pytest.param("forkserver", marks=pytest.mark.full)])
def test_one_worker_claims_what_its_parent_has_not_claimed(method):
    """The workers of a pool run at the same time, so one of them gets the claim."""
    assert claim("parent")
    assert claim("parent")
    for workers in (2, 1):  # a claim ends with its process
        with multiprocessing.get_context(method).Pool(workers) as pool:
            answers = set(pool.map(ask, [f"workers of {method}"] * 20, chunksize=1))
            assert not any(claimed for claimed, _ in pool.map(ask, ["parent"] * 20, chunksize=1))
            pool.close()
            pool.join()
        assert len({process for claimed, process in answers if claimed}) == 1


@pytest.mark.full
def test_workers_of_joblib_see_the_claims_of_their_parent():
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    assert claim("parent of joblib")
    with joblib.parallel_config("loky", n_jobs=2):
        answers = joblib.Parallel()(joblib.delayed(ask)("parent of joblib") for _ in range(4))
    assert all(process != os.getpid() and not claimed for claimed, process in answers)
