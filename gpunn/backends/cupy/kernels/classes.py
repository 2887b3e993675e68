"""CUDA functions that find a row's largest number or the number's column, for raw kernels.

All threads of a warp must call the functions.
"""

CLASSES = r"""
__device__ T warp_max(T v) {
  for (int other = LANES / 2; other; other /= 2)
    v = max(v, __shfl_xor_sync(0xffffffff, v, other));
  return v;
}
__device__ T largest(const T* row, long long columns) {
  T top = row[0];
  for (long long j = threadIdx.x % LANES; j < columns; j += LANES) top = max(top, row[j]);
  return warp_max(top);
}

// Like NumPy's argmax: the first of equal values wins, and NaN is larger than any number.
__device__ bool larger(T v, long long i, T than, long long at) {
  if (v != v || than != than) return v != v && (than == than || i < at);
  return v > than || (v == than && i < at);
}
__device__ long long argmax(const T* row, long long columns) {
  long long at = 0;
  T top = row[0];
  for (long long j = threadIdx.x % LANES; j < columns; j += LANES)
    if (larger(row[j], j, top, at)) { top = row[j]; at = j; }
  for (int other = LANES / 2; other; other /= 2) {
    const T v = __shfl_xor_sync(0xffffffff, top, other);
    const long long i = __shfl_xor_sync(0xffffffff, at, other);
    if (larger(v, i, top, at)) { top = v; at = i; }
  }
  return at;
}
"""
