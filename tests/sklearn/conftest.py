"""Without scikit-learn, pytest skips the modules of this folder and reports it."""

import importlib.metadata
import warnings

import pytest


def installed():
    try:
        importlib.metadata.distribution("scikit-learn")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip("needs scikit-learn, the extra 'sklearn'", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return None if installed() else SkippedModule.from_parent(parent, path=module_path)


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    """Estimators whose `backend` is None compute on NumPy, even on a machine with a GPU."""
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")


@pytest.fixture(autouse=True)
def _ends_at_max_iter():
    """Training may end before convergence without a warning."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
