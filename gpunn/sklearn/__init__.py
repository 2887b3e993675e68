"""Estimators with scikit-learn's interface, on a CPU or a GPU; see docs/how_to/sklearn.md.

>>> from gpunn.sklearn import MLPClassifier, MLPRegressor

This import replaces `from sklearn.neural_network import MLPClassifier, MLPRegressor`. The following
estimators accept raw tables with text, dates and missing values: `RealMLPClassifier`,
`RealMLPRegressor`, `TabMClassifier`, `TabMRegressor`, `TabularClassifier`, `TabularRegressor`.
"""

try:
    import sklearn.base  # noqa: F401
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    from gpunn.optional import install_command

    raise ModuleNotFoundError(
        f"gpunn.sklearn needs scikit-learn: {install_command('sklearn')}", name="sklearn"
    ) from error

from typing import Any

from gpunn.sklearn.acceleration import install, uninstall
from gpunn.sklearn.automatic.estimators import TabularClassifier, TabularRegressor
from gpunn.sklearn.classifier import MLPClassifier
from gpunn.sklearn.realmlp import RealMLPClassifier, RealMLPRegressor
from gpunn.sklearn.regressor import MLPRegressor
from gpunn.sklearn.tabm import TabMClassifier, TabMRegressor
from gpunn.sklearn.together import together

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "RealMLPClassifier",
    "RealMLPRegressor",
    "TabMClassifier",
    "TabMRegressor",
    "TabularClassifier",
    "TabularRegressor",
    "install",
    "together",
    "uninstall",
]


def load_ipython_extension(ipython: Any) -> None:
    """Call `install`, for `%load_ext gpunn.sklearn` in a notebook."""
    install()


def unload_ipython_extension(ipython: Any) -> None:
    uninstall()
