"""Quantiles of the normal distribution."""

from collections.abc import Sequence
from typing import Any

import numpy as np

EDGE = 0.425

# Coefficients of numerators and denominators, the highest power first.
# fmt: off
CENTRAL = (
    (
        2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
        4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
        1.3314166789178437745e2, 3.3871328727963666080e0,
    ),
    (
        5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
        2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
        4.2313330701600911252e1, 1.0,
    ),
)
TAIL = (
    (
        7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
        1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
        4.63033784615654529590e0, 1.42343711074968357734e0,
    ),
    (
        1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
        1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
        2.05319162663775882187e0, 1.0,
    ),
)
# fmt: on


def normal_quantiles(p: np.ndarray) -> np.ndarray:
    """Return Phi^-1(p), where Phi is the standard normal distribution function.

    For p from 1e-11 to 1 - 1e-11, the relative error is about 1e-16 (M. J. Wichura, "Algorithm AS
    241: the percentage points of the normal distribution", Applied Statistics 37(3), 1988).
    """
    q = p - 0.5
    z: np.ndarray = central(q)
    tails = np.abs(q) > EDGE
    z[tails] = np.copysign(tail(p[tails]), q[tails])
    return z


def central(q: Any) -> Any:
    """Return Phi^-1(q + 1/2) for |q| up to `EDGE`; q is an array or an ONNX `Value`."""
    r = 0.180625 - q * q
    return q * polynomial(CENTRAL[0], r) / polynomial(CENTRAL[1], r)


def tail(p: Any) -> Any:
    """Return |Phi^-1(p)| for |p - 1/2| > `EDGE`; p is an array or an ONNX `Value`."""
    r = np.sqrt(-np.log(np.minimum(p, 1 - p))) - 1.6
    return polynomial(TAIL[0], r) / polynomial(TAIL[1], r)


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """Return the value of a polynomial; the coefficient of the highest power comes first."""
    value, *others = coefficients
    for coefficient in others:
        value = value * x + coefficient
    return value
