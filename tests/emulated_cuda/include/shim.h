// What CUDA C++ gives a kernel without an #include, for one kernel at a time on one host thread.
#pragma once
#include <cstddef>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS  // which <math.h> takes long to read
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

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict

// ---- where a thread is ----------------------------------------------------------------------------
struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
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
#define sinpif cuda_sinpif
#define cospif cuda_cospif
#define sinpi cuda_sinpi
#define cospi cuda_cospi
static inline float pow(float a, int b) { return powf(a, (float)b); }  // C++ would go to double
static inline float sinpif(float x) { return sinf(x * 3.14159265358979f); }
static inline float cospif(float x) { return cosf(x * 3.14159265358979f); }
static inline double sinpi(double x) { return sin(x * 3.14159265358979323846); }
static inline double cospi(double x) { return cos(x * 3.14159265358979323846); }

static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dmul_rn(double a, double b) { return a * b; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(unsigned x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline float __int_as_float(int x) { return emulated::bits<float>(x); }
static inline int __float_as_int(float x) { return emulated::bits<int>(x); }
static inline long long __double_as_longlong(double x) { return emulated::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return emulated::bits<double>(x); }

#define __threadfence()
#define __threadfence_block()

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
EMULATED_ATOMIC_INTEGERS(atomicExch, value)
EMULATED_ATOMIC(atomicExch, float, value)
EMULATED_ATOMIC_INTEGERS(atomicMin, old < value ? old : value)
EMULATED_ATOMIC(atomicMin, long long, old < value ? old : value)
EMULATED_ATOMIC_INTEGERS(atomicMax, old < value ? value : old)
EMULATED_ATOMIC(atomicMax, long long, old < value ? value : old)
EMULATED_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
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
