// How the emulator calls a kernel: EMULATED_KERNEL(symbol, kernel) after the kernel's source exports
// what its parameters are and a function that runs a whole grid.
#pragma once

template <typename T, int ndim, bool contiguous, bool narrow>
class CArray;  // of cupy/carray.cuh, which may follow

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

template <class T, int n, bool contiguous, bool narrow>
struct Describe<CArray<T, n, contiguous, narrow>> {
  static constexpr Parameter value = {'a', type_code<std::remove_cv_t<T>>(), (int)sizeof(T), n,
                                      (int)sizeof(CArray<T, n, contiguous, narrow>)};
};

struct Grid {
  unsigned grid[3], block[3];
  size_t shared_bytes;
  int reversed;  // blocks and threads from last to first
};
struct Shared {  // memory that the threads of a block share, and none for threads that never meet
  char *start, *stop;
};

// Runs a whole grid; an Outcome. It is in launch.cpp.
int run(void (*body)(void**), void** arguments, const Grid* launch, const Shared* shared);

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
};

}  // namespace emulated

#ifdef EMULATED_FIBERS
static const emulated::Shared emulated_shared = {__start_emulated_shared, __stop_emulated_shared};
#define EMULATED_SHARED &emulated_shared
#else
#define EMULATED_SHARED nullptr
#endif

// What a library exports. The compiler drops what else nothing uses (-fwhole-program), such as CuPy's
// functions, which are not inline.
#define EXPORTED extern "C" __attribute__((externally_visible))

#define EMULATED_KERNEL(symbol, ...)                                                              \
  EXPORTED const int symbol##_count = emulated::Kernel<&__VA_ARGS__>::count;                      \
  EXPORTED const emulated::Parameter* const symbol##_parameters =                                 \
      emulated::Kernel<&__VA_ARGS__>::values;                                                     \
  EXPORTED int symbol##_run(void** arguments, const emulated::Grid* launch) {                     \
    return emulated::run(emulated::Kernel<&__VA_ARGS__>::body, arguments, launch,                 \
                         EMULATED_SHARED);                                                        \
  }
