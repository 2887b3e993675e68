// What CUDA C++ gives a kernel without an #include, for one kernel at a time on one host thread.
#pragma once
#include <assert.h>
#include <limits.h>
#include <math.h>  // not <cmath>: ::sqrt(float) must find the float overload, as in CUDA
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>
#include <type_traits>
#include <utility>

#define __CUDACC__ 1
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define CUDART_VERSION 13000

#define __host__
#define __device__
#define __global__
#define __constant__
#define __managed__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

// ---- where a thread is ----------------------------------------------------------------------------
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static constexpr int warpSize = 32;

namespace emulated {
// The n-th position of a grid or block, x fastest.
static inline uint3 place(unsigned long long n, dim3 size) {
  return {(unsigned)(n % size.x), (unsigned)(n / size.x % size.y), (unsigned)(n / size.x / size.y)};
}
}  // namespace emulated

// ---- why a launch ended ---------------------------------------------------------------------------
namespace emulated {
enum Outcome { done = 0, divergent_barrier = 1, failed_assertion = 2, trapped = 3 };
struct Stop {
  int outcome;
};
}  // namespace emulated
[[noreturn]] static inline void __trap() { throw emulated::Stop{emulated::trapped}; }
#undef assert
#define assert(condition) \
  ((condition) ? (void)0 : throw emulated::Stop{emulated::failed_assertion})

// ---- vectors --------------------------------------------------------------------------------------
#define EMULATED_VECTORS(T, name)                                                                   \
  struct __align__(2 * sizeof(T)) name##2 { T x, y; };                                              \
  struct name##3 { T x, y, z; };                                                                    \
  struct __align__(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; };                   \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                 \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                         \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(double, double)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(unsigned char, uchar)
EMULATED_VECTORS(long long, longlong)
struct uint2 {
  unsigned x, y;
};
struct __align__(16) uint4 {
  unsigned x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

// ---- arithmetic -----------------------------------------------------------------------------------
namespace emulated {
template <class A, class B>
using Both = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>,
                              std::common_type_t<A, B>>;
template <class To, class From>
static inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof(To));
  return to;
}
}  // namespace emulated

// CUDA's min and max of floating-point numbers drop a NaN, as fmin and fmax do.
template <class A, class B>
static inline emulated::Both<A, B> max(A a, B b) {
  using T = emulated::Both<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmax(T(a), T(b));
  return T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B>
static inline emulated::Both<A, B> min(A a, B b) {
  using T = emulated::Both<A, B>;
  if constexpr (std::is_floating_point_v<T>) return fmin(T(a), T(b));
  return T(b) < T(a) ? T(b) : T(a);
}
// Newer C libraries have some of CUDA's names: these names are ours from here on.
#define rsqrt cuda_rsqrt
#define rsqrtf cuda_rsqrtf
#define sinpif cuda_sinpif
#define cospif cuda_cospif
#define sinpi cuda_sinpi
#define cospi cuda_cospi
#define exp10f cuda_exp10f
static inline float pow(float a, int b) { return powf(a, (float)b); }  // C++ would go to double
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline float sinpif(float x) { return sinf(x * 3.14159265358979f); }
static inline float cospif(float x) { return cosf(x * 3.14159265358979f); }
static inline double sinpi(double x) { return sin(x * 3.14159265358979323846); }
static inline double cospi(double x) { return cos(x * 3.14159265358979323846); }
static inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752); }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __frsqrt_rn(float x) { return rsqrtf(x); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float exp10f(float x) { return powf(10.0f, x); }
#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf

static inline unsigned __umulhi(unsigned a, unsigned b) { return ((uint64_t)a * b) >> 32; }
static inline int __mulhi(int a, int b) { return ((int64_t)a * b) >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return ((unsigned __int128)a * b) >> 64;
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(unsigned long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= ((x >> i) & 1u) << (31 - i);
  return reversed;
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return (((uint64_t)hi << 32 | lo) << (shift & 31)) >> 32;
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return ((uint64_t)hi << 32 | lo) >> (shift & 31);
}
static inline float __uint_as_float(unsigned x) { return emulated::bits<float>(x); }
static inline float __int_as_float(int x) { return emulated::bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return emulated::bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emulated::bits<int>(x); }
static inline long long __double_as_longlong(double x) { return emulated::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulated::bits<double>(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline int __float2int_ru(float x) { return (int)ceilf(x); }
static inline unsigned __float2uint_rn(float x) { return (unsigned)rintf(x); }
static inline float __double2float_rn(double x) { return (float)x; }

template <class T>
static inline T __ldg(const T* address) {
  return *address;
}
#define __threadfence()
#define __threadfence_block()
#define __threadfence_system()
static inline long long clock64() { return 0; }

// ---- atomics: one thread runs at a time, so plain memory does; the overloads are CUDA's ------------
#define EMULATED_ATOMIC(name, T, result)                   \
  static inline T name(T* address, T value) {              \
    T old = *address;                                      \
    *address = (T)(result);                                \
    return old;                                            \
  }
#define EMULATED_ATOMIC_INTEGERS(name, result)             \
  EMULATED_ATOMIC(name, int, result)                       \
  EMULATED_ATOMIC(name, unsigned, result)                  \
  EMULATED_ATOMIC(name, unsigned long long, result)
EMULATED_ATOMIC_INTEGERS(atomicAdd, old + value)
EMULATED_ATOMIC(atomicAdd, float, old + value)
EMULATED_ATOMIC(atomicAdd, double, old + value)
EMULATED_ATOMIC(atomicSub, int, old - value)
EMULATED_ATOMIC(atomicSub, unsigned, old - value)
EMULATED_ATOMIC_INTEGERS(atomicExch, value)
EMULATED_ATOMIC(atomicExch, float, value)
EMULATED_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
EMULATED_ATOMIC(atomicMin, long long, old < value ? old : value)
EMULATED_ATOMIC_INTEGERS(atomicMax, old < value ? value : old)
EMULATED_ATOMIC(atomicMax, long long, old < value ? value : old)
EMULATED_ATOMIC_INTEGERS(atomicAnd, old& value)
EMULATED_ATOMIC_INTEGERS(atomicOr, old | value)
EMULATED_ATOMIC_INTEGERS(atomicXor, old ^ value)
EMULATED_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
EMULATED_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)
#define EMULATED_CAS(T)                                              \
  static inline T atomicCAS(T* address, T expected, T desired) {     \
    T old = *address;                                                \
    if (old == expected) *address = desired;                         \
    return old;                                                      \
  }
EMULATED_CAS(int)
EMULATED_CAS(unsigned)
EMULATED_CAS(unsigned long long)
EMULATED_CAS(unsigned short)
