"""Where scikit-learn is missing, the modules of this folder are skipped, which pytest reports."""

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
    """Estimators whose `backend` is None compute on NumPy, whatever the machine has."""
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")


@pytest.fixture(autouse=True)
def _ends_at_max_iter():
    """Training may end before it has converged, without saying so."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
