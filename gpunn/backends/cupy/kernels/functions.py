"""CUDA functions that the sources of several kernels include."""

__all__ = ["FUNCTIONS"]

# Comparisons keep NaN, so that a diverged run is visible.
FUNCTIONS = r"""
template <typename T> __device__ T signum(T x) { return x == x ? (T)((x > 0) - (x < 0)) : x; }

template <typename T> __device__ T sigmoid(T x) { return (T)0.5 * tanh((T)0.5 * x) + (T)0.5; }

template <typename T> __device__ T softplus(T x) {
  return (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));
}
"""
