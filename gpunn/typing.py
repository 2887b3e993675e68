"""Types for annotations."""

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""A backend's array, from NumPy, CuPy or another library with the array-API standard."""

HostArray: TypeAlias = Any
"""A NumPy array, or anything that `numpy.asarray` converts to a NumPy array."""

Namespace: TypeAlias = Any
"""An array-API namespace: a module, or a similar object, with `exp`, `sum`, `matmul`, ..."""

Shape: TypeAlias = tuple[int, ...]
