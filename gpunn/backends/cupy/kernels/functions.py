"""Device functions that several kernels use, as the preamble of their source."""

__all__ = ["FUNCTIONS"]

# Comparisons are written so that a NaN stays one: a diverged run must show.
FUNCTIONS = r"""
template <typename T> __device__ T signum(T x) { return x == x ? (T)((x > 0) - (x < 0)) : x; }

template <typename T> __device__ T sigmoid(T x) { return (T)0.5 * tanh((T)0.5 * x) + (T)0.5; }

template <typename T> __device__ T softplus(T x) {
  return (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));
}
"""
