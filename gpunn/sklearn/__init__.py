"""scikit-learn's multi-layer perceptrons on gpunn: the same estimators, on a CPU or a GPU.

>>> from gpunn.sklearn import MLPClassifier, MLPRegressor

replaces `from sklearn.neural_network import MLPClassifier, MLPRegressor`. See docs/sklearn.md.
"""

try:
    import sklearn.base  # noqa: F401
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise ModuleNotFoundError(
        "gpunn.sklearn needs scikit-learn; install gpunn with its extra 'sklearn': "
        "pip install '.[sklearn]' from the repository's folder",
        name="sklearn",
    ) from error

from gpunn.sklearn.classifier import MLPClassifier
from gpunn.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
