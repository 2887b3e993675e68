"""NumPy's modules that no array operation needs are imported when they are used."""

from processes import run_python

PROGRAM = """
import sys
import numpy as np
import gpunn

xp = gpunn.get_backend("numpy").xp
loaded = {"numpy.f2py", "numpy.ma", "numpy.testing"} & {*sys.modules}
assert not loaded, loaded
assert xp.testing is np.testing
assert not [name for name in np.__all__ if not hasattr(xp, name)]
assert xp.argsort(np.arange(3), descending=True).tolist() == [2, 1, 0]
"""


def test_other_modules_of_numpy_are_loaded_when_used():
    run_python("-c", PROGRAM)
