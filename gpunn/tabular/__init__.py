"""The strongest networks for tables: RealMLP and TabM, made for the columns of a schema.

>>> from gpunn.tabular import realmlp, tabm

`gpunn.sklearn` has estimators of them, which take a table as it is.
"""

from __future__ import annotations

from gpunn.tabular.columns import NUMBER_EMBEDDINGS
from gpunn.tabular.edges import quantile_edges, tree_edges
from gpunn.tabular.realmlp import realmlp
from gpunn.tabular.recipe import Recipe
from gpunn.tabular.tabm import tabm

__all__ = ["NUMBER_EMBEDDINGS", "Recipe", "quantile_edges", "realmlp", "tabm", "tree_edges"]
