"""gpunn's strongest tabular models: RealMLP and TabM, built for the columns of a schema.

>>> from gpunn.tabular import realmlp, tabm

`gpunn.sklearn` contains estimators of these models, which accept raw tables.
"""

from gpunn.tabular.calibration import scale_temperature
from gpunn.tabular.columns import NUMBER_EMBEDDINGS
from gpunn.tabular.edges import quantile_edges, tree_edges
from gpunn.tabular.ensemble import combined, separated
from gpunn.tabular.realmlp import realmlp
from gpunn.tabular.recipe import Recipe
from gpunn.tabular.selection import greedy_selection
from gpunn.tabular.tabm import tabm

__all__ = [
    "NUMBER_EMBEDDINGS",
    "Recipe",
    "combined",
    "greedy_selection",
    "quantile_edges",
    "realmlp",
    "scale_temperature",
    "separated",
    "tabm",
    "tree_edges",
]
