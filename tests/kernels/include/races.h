// Finds all data races: two unordered accesses to a byte, at least one of which writes.
//
// With g++ -fsanitize=thread, a kernel calls the functions at the end of this file at each access. They
// replace ThreadSanitizer's library, which stores four accesses to a word, and so finds a race only under
// some schedules. This file stores enough for every later access. Within a block, only barriers order
// accesses, so the same pairs race for any order of threads.
//
// Blocks run one after the other. Only the patterns of CUDA's memory model order them: a __threadfence()
// before an atomic operation releases the accesses before the fence. A __threadfence() after an atomic
// operation on the same word, by a thread of a later block, acquires them for the accesses after the fence.
// Atomic operations here change the word, and each one sees all earlier ones. An order through a third
// block and two words is not recognized and reported as a race.
#pragma once
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <vector>

namespace races {

constexpr int lanes = 32;
enum Kind { reading, writing, atomic, kinds };
constexpr const char* names[] = {"read", "write", "atomic operation"};

// A point in the execution of one thread of one block.
struct Access {
  long block;
  int thread;
  int block_barriers, barriers;  // barriers that the thread has passed: of its block; of its block or warp
  int fences;
  const char* code;
  bool same_warp(const Access& other) const {
    return block == other.block && thread / lanes == other.thread / lanes;
  }
  // Whether barriers order two points of one block. Either point may be a fence, which has accesses of its
  // thread before and after it.
  bool before_by_barriers(const Access& later) const {
    return block == later.block && (block_barriers < later.block_barriers ||
                                    (same_warp(later) && barriers < later.barriers));
  }
  bool before_fence(const Access& fence) const {
    return before_by_barriers(fence) || (same_thread(fence) && fences < fence.fences);
  }
  bool after_fence(const Access& fence) const {
    return fence.before_by_barriers(*this) || (same_thread(fence) && fences >= fence.fences);
  }
  bool same_thread(const Access& other) const {
    return block == other.block && thread == other.thread;
  }
  bool before(const Access& later, bool shared) const;
};

// Fences before the atomic operations on a word, in the order of the operations.
using Released = std::vector<Access>;
static std::map<const void*, Released> released;

// A fence after an atomic operation that saw the first `count` operations.
struct Acquired {
  Access fence;
  const Released* from;
  size_t count;
};
static std::vector<Acquired> acquired;

bool Access::before(const Access& later, bool shared) const {
  if (block == later.block) return thread == later.thread || before_by_barriers(later);
  if (shared) return true;  // another block has other shared memory
  for (const Acquired& seen : acquired)
    if (later.after_fence(seen.fence))
      for (size_t n = 0; n < seen.count; ++n)
        if (before_fence((*seen.from)[n])) return true;
  return false;
}

// Accesses of one kind that are not ordered with each other. Two per block are enough, from two warps if
// possible: an access that is ordered after both is ordered after all others.
struct Unordered {
  Access kept[2];  // accesses of the latest block
  int count = 0;
  std::unique_ptr<std::vector<Access>> earlier;  // accesses of earlier blocks, if any

  const Access* race_with(const Access& access, bool shared) const {
    for (int n = 0; n < count; ++n)
      if (!kept[n].before(access, shared)) return &kept[n];
    if (earlier)
      for (const Access& one : *earlier)
        if (!one.before(access, shared)) return &one;
    return nullptr;
  }
  void add(const Access& access, bool shared) {
    int left = 0;
    for (int n = 0; n < count; ++n)
      if (!kept[n].before(access, shared)) kept[left++] = kept[n];
    count = left;
    if (earlier)
      std::erase_if(*earlier, [&](const Access& one) { return one.before(access, shared); });
    if (count && kept[0].block != access.block) {
      if (!earlier) earlier.reset(new std::vector<Access>);
      earlier->insert(earlier->end(), kept, kept + count);
      count = 0;
    }
    if (count < 2)
      kept[count++] = access;
    else if (kept[0].same_warp(kept[1]) && !kept[0].same_warp(access))
      kept[1] = access;
  }
};

struct Region {
  const char *begin, *end;
  bool shared;
  std::vector<Unordered> seen;  // accesses to each byte, by kind
};

static std::vector<Region> regions;

// The state of a thread.
struct Thread {
  Access self;
  Access fence;  // the last fence that it passed, if `fenced`
  bool fenced = false;
  std::vector<Acquired> waiting;  // atomic operations that wait for a fence

  void enter_block(long block, int thread) { self = {block, thread}; }
  void pass_barrier(bool of_block) {
    self.block_barriers += of_block;
    ++self.barriers;
  }
  void pass_fence() {
    ++self.fences;
    fence = self;
    fenced = true;
    for (Acquired& seen : waiting) acquired.push_back({fence, seen.from, seen.count});
    waiting.clear();
  }
};
static Thread* running;

static void watch(const void* begin, size_t size, bool shared) {
  for (Region& region : regions)
    if (region.begin == begin) return;
  const char* start = (const char*)begin;
  regions.push_back({start, start + size, shared, std::vector<Unordered>(size * kinds)});
}

// A launch is ordered after all earlier launches.
static void forget(bool regions_too) {
  if (regions_too) regions.clear();
  for (Region& region : regions) region.seen = std::vector<Unordered>(region.seen.size());
  released.clear();
  acquired.clear();
}

static void print(const Access& access, Kind kind) {
  Dl_info place{};
  dladdr(access.code, &place);
  fprintf(stderr, "  %s by thread %d of block %ld, after %d barriers of the block, at %s+%#tx\n",
          names[kind], access.thread, access.block, access.block_barriers,
          place.dli_fname ? place.dli_fname : "?", access.code - (const char*)place.dli_fbase);
}

// Call this after an atomic operation that changes the word.
static void synchronize(const void* word) {
  Released& fences = released[word];
  running->waiting.push_back({{}, &fences, fences.size()});
  if (running->fenced) fences.push_back(running->fence);
}

static void see(const void* address, size_t size, Kind kind, void* code) {
  const char* at = (const char*)address;
  for (Region& region : regions) {
    if (at < region.begin || at >= region.end) continue;
    Access access = running->self;
    access.code = (const char*)code;
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

// ---- functions that g++ -fsanitize=thread calls ---------------------------------------------------
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

#define SEE_ATOMIC(bits)                                                                     \
  using Bits##bits = uint##bits##_t;                                                         \
  extern "C" Bits##bits __tsan_atomic##bits##_load(const Bits##bits* a, int) {               \
    races::see(a, bits / 8, races::atomic, __builtin_return_address(0));                     \
    return __atomic_load_n(a, __ATOMIC_SEQ_CST);                                             \
  }                                                                                          \
  extern "C" int __tsan_atomic##bits##_compare_exchange_strong(Bits##bits* a, Bits##bits* old, \
                                                               Bits##bits v, int, int) {     \
    races::see(a, bits / 8, races::atomic, __builtin_return_address(0));                     \
    const bool changed =                                                                     \
        __atomic_compare_exchange_n(a, old, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);   \
    if (changed) races::synchronize(a);                                                      \
    return changed;                                                                          \
  }
SEE_ATOMIC(8)
SEE_ATOMIC(32)
SEE_ATOMIC(64)
