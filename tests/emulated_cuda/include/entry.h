// How the emulator calls a kernel: EMULATED_KERNEL(symbol, kernel) after the kernel's source exports
// what its parameters are and a function that runs a whole grid.
#pragma once

namespace emulated {

struct Parameter {
  int kind;   // 'p' pointer, 'c' pointer to const, 'a' CuPy array, 'v' value
  int type;   // of the element or value: 'f' floating point, 'i' integer, 'o' other
  int item;   // bytes of one element
  int ndim;   // dimensions of a CuPy array
  int bytes;  // bytes of the parameter itself
};

template <class T>
constexpr int type_code() {
  return std::is_floating_point_v<T> ? 'f' : std::is_integral_v<T> ? 'i' : 'o';
}
template <class T>
constexpr int item_bytes() {
  if constexpr (std::is_void_v<T> || std::is_function_v<T>)
    return 1;
  else
    return (int)sizeof(T);
}
template <class T>
struct Describe {
  static constexpr Parameter value = {'v', type_code<T>(), (int)sizeof(T), 0, (int)sizeof(T)};
};
template <class T>
struct Describe<T*> {
  static constexpr Parameter value = {std::is_const_v<T> ? 'c' : 'p',
                                      type_code<std::remove_cv_t<T>>(), item_bytes<T>(), 0,
                                      (int)sizeof(T*)};
};

#ifdef CUPY_FOR  // cupy/carray.cuh was included
template <class T, int n, bool contiguous, bool narrow>
struct Describe<CArray<T, n, contiguous, narrow>> {
  static constexpr Parameter value = {'a', type_code<std::remove_cv_t<T>>(), (int)sizeof(T), n,
                                      (int)sizeof(CArray<T, n, contiguous, narrow>)};
};
#endif

struct Grid {
  unsigned grid[3], block[3];
  size_t shared_bytes;
  int reversed;  // blocks and threads from last to first
};

template <class... A>
struct Parameters {
  static constexpr int count = (int)sizeof...(A);
  static constexpr Parameter values[count + 1] = {Describe<std::remove_cv_t<A>>::value..., {}};
};

template <auto kernel>
struct Kernel;
template <class... A, void (*kernel)(A...)>
struct Kernel<kernel> : Parameters<A...> {
  template <size_t... i>
  static void call(void** arguments, std::index_sequence<i...>) {
    kernel(*(std::remove_cv_t<A>*)arguments[i]...);
  }
  static void body(void** arguments) { call(arguments, std::index_sequence_for<A...>{}); }

  static int run(void** arguments, const Grid* launch) {
    const unsigned *g = launch->grid, *b = launch->block;
    gridDim = {g[0], g[1], g[2]};
    blockDim = {b[0], b[1], b[2]};
    const long long blocks = (long long)g[0] * g[1] * g[2];
    try {
      for (long long n = 0; n < blocks; ++n) {
        blockIdx = place(launch->reversed ? blocks - 1 - n : n, gridDim);
#ifdef EMULATED_FIBERS
        if (int outcome = run_block(body, arguments, launch->shared_bytes, launch->reversed))
          return outcome;
#else
        const int threads = (int)(b[0] * b[1] * b[2]);
        for (int t = 0; t < threads; ++t) {
          threadIdx = place(launch->reversed ? threads - 1 - t : t, blockDim);
          body(arguments);
        }
#endif
      }
    } catch (const Stop& stop) {
      return stop.outcome;
    }
    return done;
  }
};

}  // namespace emulated

#define EMULATED_KERNEL(symbol, ...)                                                              \
  extern "C" {                                                                                    \
  extern const int symbol##_count = emulated::Kernel<&__VA_ARGS__>::count;                        \
  extern const emulated::Parameter* const symbol##_parameters =                                   \
      emulated::Kernel<&__VA_ARGS__>::values;                                                     \
  int symbol##_run(void** arguments, const emulated::Grid* launch) {                              \
    return emulated::Kernel<&__VA_ARGS__>::run(arguments, launch);                                \
  }                                                                                               \
  }
