// Blocks whose threads meet: barriers, shared memory, warp shuffles and votes.
//
// Each CUDA thread of a block is a fiber with its own stack. A fiber runs until it waits, then the
// next one runs, in a fixed order: runs are repeatable, and a race may stay hidden in it. What needs no
// template is in launch.cpp, which is compiled once.
#pragma once
#include <setjmp.h>

// All __shared__ variables lie in one section, so that each block can begin with them poisoned.
#define __shared__ static __attribute__((section("emulated_shared")))
extern "C" {
extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));
}

namespace emulated {

constexpr int max_threads = 1024, max_warps = max_threads / 32;
constexpr size_t max_dynamic_shared = 228 * 1024;

extern char dynamic_shared[max_dynamic_shared];

struct Group {  // threads that wait for each other: a block, or a warp
  int alive, waiting;
  int generation;  // how often all have met; it goes on from block to block
};
struct Fiber {
  uint3 index;
  int number;
  bool started, finished;
  const int* awaited;  // the generation counter it waits to see move on, or null
  int seen;
  bool vote;
  int vote_mark = -1;
  jmp_buf context;
};

struct Lane {  // what a thread shows the other threads of its warp
  alignas(16) char value[16];
  int mark = -1;
};
// No lane overwrites what another may still read: it uses the other row next, and before it uses this
// row again, all lanes have met at a barrier.
using Rows = Lane[2][32];

extern Fiber* current;
extern Group block, warps[max_warps];
extern Rows lanes[max_warps];

void wait(Group& group);
unsigned ballot(bool vote);
int count_votes(bool vote);  // of a whole block
static inline Group& warp() { return warps[current->number / 32]; }

// The row of the warp's next barrier.
static inline Lane* row() { return lanes[current->number / 32][warp().generation % 2]; }

// One exchange within a warp: every lane leaves a value, marked with the barrier it was left for, and
// may then read another lane's. A value without that mark is from a lane that did not take part.
template <class T>
static T exchange(T value, int source, int width) {
  static_assert(sizeof(T) <= 16, "warp shuffles carry up to 16 bytes here");
  const int lane = current->number % 32, first = lane / width * width;
  Lane* const row = emulated::row();
  const int mark = warp().generation;
  memcpy(row[lane].value, &value, sizeof(T));
  row[lane].mark = mark;
  wait(warp());
  T received = value;
  if (source >= first && source < first + width && row[source].mark == mark)
    memcpy(&received, row[source].value, sizeof(T));
  return received;
}
static inline int lane() { return current->number % 32; }

}  // namespace emulated

static inline void __syncthreads() { emulated::wait(emulated::block); }
static inline int __syncthreads_count(int vote) { return emulated::count_votes(vote); }
static inline int __syncthreads_or(int vote) { return emulated::count_votes(vote) != 0; }
static inline void __syncwarp(unsigned = ~0u) { emulated::wait(emulated::warp()); }
static inline unsigned __ballot_sync(unsigned, int vote) { return emulated::ballot(vote); }
static inline int __any_sync(unsigned, int vote) { return emulated::ballot(vote) != 0; }
static inline int __all_sync(unsigned, int vote) { return emulated::ballot(!vote) == 0; }
template <class T>
static T __shfl_sync(unsigned, T value, int source, int width = 32) {
  const int first = emulated::lane() / width * width;
  return emulated::exchange(value, first + (source & (width - 1)), width);
}
template <class T>
static T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
  return emulated::exchange(value, emulated::lane() + (int)delta, width);
}
template <class T>
static T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
  return emulated::exchange(value, emulated::lane() - (int)delta, width);
}
template <class T>
static T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
  return emulated::exchange(value, emulated::lane() ^ mask, width);
}
