"""NumPy with the names of the array API standard, without NumPy's modules that import slowly.

array_api_compat would copy every public name of NumPy, and so import `numpy.f2py`, `numpy.testing`
and other modules that NumPy itself imports only at their first use.
"""

import numpy as np

__all__ = ["xp"]


def _unloaded(name: str) -> None:
    raise AttributeError(name)


whole = {name: vars(np)[name] for name in ("__all__", "__getattr__")}
loaded = [name for name in np.__all__ if name in vars(np)]
vars(np).update(__all__=loaded, __getattr__=_unloaded)
try:
    import array_api_compat.numpy as xp
finally:
    vars(np).update(whole)
vars(xp).setdefault("__getattr__", np.__getattr__)
