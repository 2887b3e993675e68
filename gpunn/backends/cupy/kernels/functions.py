"""CUDA functions that the sources of several kernels include."""

# The compiler may round a * b + c only once. `product` prevents this in fused kernels, if separate
# kernels would store the product. Comparisons keep NaN, so that a diverged run is visible.
FUNCTIONS = r"""
__device__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ double product(double a, double b) { return __dmul_rn(a, b); }

template <typename T> __device__ T signum(T x) { return x == x ? (T)((x > 0) - (x < 0)) : x; }

template <typename T> __device__ T sigmoid(T x) { return (T)0.5 * tanh((T)0.5 * x) + (T)0.5; }

template <typename T> __device__ T softplus(T x) {
  return (x > 0 ? x : (T)0) + log1p(exp(-fabs(x)));
}

// Unlike `sigmoid`, `logistic` has a small relative error for negative numbers too, because the
// formulas of custom classes may take its logarithm.
template <typename T> __device__ T logistic(T x) {
  const T e = exp(-fabs(x));
  return (x < 0 ? e : (T)1) / (1 + e);
}

template <typename T> __device__ T maximum(T a, T b) { return a > b || a != a ? a : b; }

template <typename T> __device__ T minimum(T a, T b) { return a < b || a != a ? a : b; }
"""
