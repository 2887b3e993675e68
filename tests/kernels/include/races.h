// Finds data races exactly: two accesses to a byte, at least one of which writes, that no barrier orders.
//
// g++ -fsanitize=thread has a kernel call the functions at the end of this file at each access. Nothing
// of ThreadSanitizer's own library is used: it remembers four accesses to a word, and so finds a race
// only under some schedules. What is remembered here is enough for every later access, and barriers
// alone order accesses. So whichever thread comes first, the same pairs race.
#pragma once
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <mutex>
#include <vector>

namespace races {

constexpr int lanes = 32;
enum Kind { reading, writing, atomic, kinds };
constexpr const char* names[] = {"read", "write", "atomic operation"};

// Blocks run one after the other. So an access of an earlier block is never ordered before a later
// one, in global memory; shared memory is another one for each block.
struct Access {
  long block;
  int thread;
  int block_barriers, barriers;  // that the thread has passed: of its block; of its block or warp
  const char* code;
  bool same_warp(const Access& other) const {
    return block == other.block && thread / lanes == other.thread / lanes;
  }
  bool before(const Access& later, bool shared) const {
    if (block != later.block) return shared;
    return thread == later.thread || block_barriers < later.block_barriers ||
           (same_warp(later) && barriers < later.barriers);
  }
};

// The accesses of one kind that are not ordered among themselves. Two of them are enough, if they are
// of two warps wherever there are two: whatever is ordered after both is ordered after all the rest.
struct Unordered {
  Access kept[2];
  int count = 0;
  const Access* race_with(const Access& access, bool shared) const {
    for (int n = 0; n < count; ++n)
      if (!kept[n].before(access, shared)) return &kept[n];
    return nullptr;
  }
  void add(const Access& access, bool shared) {
    int left = 0;
    for (int n = 0; n < count; ++n)
      if (!kept[n].before(access, shared)) kept[left++] = kept[n];
    count = left;
    if (count < 2)
      kept[count++] = access;
    else if (kept[0].same_warp(kept[1]) && !kept[0].same_warp(access))
      kept[1] = access;
  }
};

struct Region {
  const char *begin, *end;
  bool shared;
  std::vector<Unordered> seen;  // kinds of each byte
};

static std::vector<Region> regions;  // changed between launches, or while one thread runs
static std::mutex seeing;
static thread_local Access self;

static void watch(const void* begin, size_t size, bool shared) {
  for (Region& region : regions)
    if (region.begin == begin) return;
  const char* start = (const char*)begin;
  regions.push_back({start, start + size, shared, std::vector<Unordered>(size * kinds)});
}

// What a launch does is ordered after all that those before it did.
static void forget(bool regions_too) {
  if (regions_too) regions.clear();
  for (Region& region : regions) region.seen.assign(region.seen.size(), {});
}

static void print(const Access& access, Kind kind) {
  Dl_info place{};
  dladdr(access.code, &place);
  fprintf(stderr, "  %s by thread %d of block %ld, after %d barriers of the block, at %s+%#tx\n",
          names[kind], access.thread, access.block, access.block_barriers,
          place.dli_fname ? place.dli_fname : "?", access.code - (const char*)place.dli_fbase);
}

static void see(const void* address, size_t size, Kind kind, void* code) {
  const char* at = (const char*)address;
  for (Region& region : regions) {
    if (at < region.begin || at >= region.end) continue;
    Access access = self;
    access.code = (const char*)code;
    std::lock_guard<std::mutex> alone(seeing);
    for (; size-- && at < region.end; ++at) {
      Unordered* seen = &region.seen[(at - region.begin) * kinds];
      for (int other = 0; other < kinds; ++other) {
        if (other == kind && kind != writing) continue;
        if (const Access* found = seen[other].race_with(access, region.shared)) {
          fprintf(stderr, "data race, at byte %td of %s memory:\n", at - region.begin,
                  region.shared ? "shared" : "global");
          print(*found, (Kind)other);
          print(access, kind);
          _exit(66);
        }
      }
      seen[kind].add(access, region.shared);
    }
    return;
  }
}

}  // namespace races

// ---- what the kernels' threads tell (see threads.h and grid.h) ------------------------------------
extern "C" void race_watch_shared(const void* begin, size_t size) {
  races::watch(begin, size, true);
}
extern "C" void race_enter_block(long block, int thread) { races::self = {block, thread, 0, 0, 0}; }
extern "C" void race_pass_barrier(bool of_block) {
  races::self.block_barriers += of_block;
  ++races::self.barriers;
}

// ---- what g++ -fsanitize=thread calls -------------------------------------------------------------
#define SEE(name, size, kind)                                              \
  extern "C" void __tsan_##name(void* address) {                           \
    races::see(address, size, races::kind, __builtin_return_address(0));   \
  }
#define SEE_SIZE(size)                       \
  SEE(read##size, size, reading)             \
  SEE(write##size, size, writing)            \
  SEE(unaligned_read##size, size, reading)   \
  SEE(unaligned_write##size, size, writing)  \
  SEE(volatile_read##size, size, reading)    \
  SEE(volatile_write##size, size, writing)
SEE_SIZE(1)
SEE_SIZE(2)
SEE_SIZE(4)
SEE_SIZE(8)
SEE_SIZE(16)
extern "C" void __tsan_read_range(void* address, size_t size) {
  races::see(address, size, races::reading, __builtin_return_address(0));
}
extern "C" void __tsan_write_range(void* address, size_t size) {
  races::see(address, size, races::writing, __builtin_return_address(0));
}
extern "C" void __tsan_vptr_update(void**, void*) {}
extern "C" void __tsan_vptr_read(void**) {}
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

#define SEE_ATOMIC(bits)                                                             \
  using Bits##bits = uint##bits##_t;                                                 \
  extern "C" Bits##bits __tsan_atomic##bits##_load(const Bits##bits* a, int) {       \
    races::see(a, bits / 8, races::atomic, __builtin_return_address(0));             \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                     \
  }                                                                                  \
  extern "C" void __tsan_atomic##bits##_store(Bits##bits* a, Bits##bits v, int) {    \
    races::see(a, bits / 8, races::atomic, __builtin_return_address(0));             \
    __atomic_store_n(a, v, __ATOMIC_SEQ_CST);                                        \
  }                                                                                  \
  extern "C" Bits##bits __tsan_atomic##bits##_exchange(Bits##bits* a, Bits##bits v, int) { \
    races::see(a, bits / 8, races::atomic, __builtin_return_address(0));             \
    return __atomic_exchange_n(a, v, __ATOMIC_SEQ_CST);                              \
  }
SEE_ATOMIC(8)
SEE_ATOMIC(32)
SEE_ATOMIC(64)
