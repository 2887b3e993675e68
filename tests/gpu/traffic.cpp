// Which bytes of device memory a kernel reads and which it writes, each counted once.
//
// g++ -fsanitize=thread has a kernel call the functions at the end of this file at each access.
// Nothing of ThreadSanitizer's own library is used.
#include <stddef.h>
#include <stdint.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace {

enum Kind : unsigned char { reading = 1, writing = 2 };

// An allocation, with the kinds of access to each byte, and the bounds of all accesses.
struct Range {
  uintptr_t begin, end;
  unsigned char* kinds;
  uintptr_t first, last;
};

std::vector<Range> watched;

void see(const void* address, size_t size, Kind kind) {
  const uintptr_t at = (uintptr_t)address;
  for (Range& range : watched)
    if (range.begin <= at && at < range.end) {
      for (size_t n = 0; n < size; ++n) range.kinds[at + n - range.begin] |= kind;
      range.first = std::min(range.first, at);
      range.last = std::max(range.last, at + size);
      return;
    }
}

}  // namespace

// Begins anew, with nothing watched.
extern "C" void traffic_begin() { watched.clear(); }
extern "C" void traffic_watch(uintptr_t begin, size_t size) {
  watched.push_back({begin, begin + size, (unsigned char*)calloc(size + 16, 1), begin + size, begin});
}
// Returns the bytes read plus the bytes written.
extern "C" long long traffic_end() {
  long long bytes = 0;
  for (const Range& range : watched) {
    for (uintptr_t at = range.first; at < range.last; ++at) {
      const unsigned char kinds = range.kinds[at - range.begin];
      bytes += (kinds & 1) + (kinds >> 1);
    }
    free(range.kinds);
  }
  return bytes;
}

#define SEE(name, size, kind) \
  extern "C" void __tsan_##name(void* address) { see(address, size, kind); }
#define SEE_SIZE(size)                      \
  SEE(read##size, size, reading)            \
  SEE(write##size, size, writing)           \
  SEE(unaligned_read##size, size, reading)  \
  SEE(unaligned_write##size, size, writing) \
  SEE(volatile_read##size, size, reading)   \
  SEE(volatile_write##size, size, writing)
SEE_SIZE(1)
SEE_SIZE(2)
SEE_SIZE(4)
SEE_SIZE(8)
SEE_SIZE(16)
extern "C" void __tsan_read_range(void* address, size_t size) { see(address, size, reading); }
extern "C" void __tsan_write_range(void* address, size_t size) { see(address, size, writing); }
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
