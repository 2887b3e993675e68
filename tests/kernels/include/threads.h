// A kernel's threads as threads of the host.
//
// Blocks run one after the other. What orders memory in CUDA, __syncthreads(), __syncwarp() and
// __threadfence(), is told to the race checker (races.h), which sees atomic operations by itself. Shuffles
// and votes exchange values but order nothing, as CUDA has it.
#pragma once
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <vector>

#define threadIdx emulated_thread  // the shim has one for the process; here each thread has its own
#define blockIdx emulated_block
#define atomicAdd emulated_add  // the shim's are for threads that take turns
#define atomicExch emulated_exchange
#define atomicInc emulated_increment
#include "shim.h"
#undef threadIdx
#undef blockIdx
#undef atomicAdd
#undef atomicExch
#undef atomicInc
#undef __threadfence
static thread_local uint3 threadIdx, blockIdx;

// Of the one block that runs. All lie in one section, so that the race checker knows where.
#define __shared__ static __attribute__((section("replay_shared")))
extern "C" {
extern char __start_replay_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_replay_shared[] __attribute__((weak, visibility("hidden")));
}

#ifdef __SANITIZE_THREAD__
extern "C" void race_watch_shared(const void* begin, size_t size);
extern "C" void race_enter_block(long block, int thread);
extern "C" void race_pass_barrier(bool of_block);
extern "C" void race_pass_fence();
#else
static inline void race_watch_shared(const void*, size_t) {}
static inline void race_enter_block(long, int) {}
static inline void race_pass_barrier(bool) {}
static inline void race_pass_fence() {}
#endif

namespace replay {

constexpr int lanes = 32;
constexpr auto relaxed = std::memory_order_relaxed;

// Threads that wait for each other.
class Group {
 public:
  void enter(int threads) { alive_ = threads; }

  void meet() {
    lock();
    const int seen = generation_.load(relaxed);
    waiting_.store(waiting_.load(relaxed) + 1, relaxed);
    unlock_and_release();
    while (generation_.load(relaxed) == seen) futex(FUTEX_WAIT_PRIVATE, seen);
    compiler_fence();
  }

  void leave() {
    lock();
    alive_.store(alive_.load(relaxed) - 1, relaxed);
    unlock_and_release();
  }

 private:
  static void compiler_fence() { asm volatile("" ::: "memory"); }
  void futex(int what, int value) { syscall(SYS_futex, &generation_, what, value, 0, 0, 0); }
  void lock() {
    while (locked_.exchange(true, relaxed)) sched_yield();
    compiler_fence();
  }
  void unlock_and_release() {
    const int waiting = waiting_.load(relaxed);
    const bool complete = waiting && waiting >= alive_.load(relaxed);
    if (complete) {
      waiting_.store(0, relaxed);
      generation_.store(generation_.load(relaxed) + 1, relaxed);
    }
    compiler_fence();
    locked_.store(false, relaxed);
    if (complete) futex(FUTEX_WAKE_PRIVATE, INT_MAX);
  }

  std::atomic<int> alive_{0}, waiting_{0}, generation_{0};
  std::atomic<bool> locked_{false};
};

// Lanes show values in two turns: one may be overwritten only when all have read the one after it.
struct Warp : Group {
  std::atomic<uint64_t> shown[2][lanes];
};

struct Block : Group {
  std::vector<Warp> warps;
  explicit Block(int threads) : warps((threads + lanes - 1) / lanes) {
    enter(threads);
    for (int w = 0; w < (int)warps.size(); ++w)
      warps[w].enter(threads - w * lanes < lanes ? threads - w * lanes : lanes);
  }
};

static thread_local Block* block;
static thread_local int number;  // of the thread within its block
static thread_local unsigned turn;

static inline Warp& warp() { return block->warps[number / lanes]; }

template <class T>
static T exchange(T value, int (*source)(int lane, int by, int width), int by, int width) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a lane shows 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  Warp& mine = warp();
  const int lane = number % lanes;
  auto& shown = mine.shown[turn++ % 2];
  shown[lane].store(bits, relaxed);
  mine.meet();
  bits = shown[source(lane, by, width)].load(relaxed);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

static inline unsigned vote(unsigned mask, bool yes) {
  Warp& mine = warp();
  auto& shown = mine.shown[turn++ % 2];
  shown[number % lanes].store(yes, relaxed);
  mine.meet();
  unsigned votes = 0;
  for (int lane = 0; lane < lanes; ++lane)
    if (mask >> lane & 1 && shown[lane].load(relaxed)) votes |= 1u << lane;
  return votes;
}

}  // namespace replay

// The other atomics are still the shim's: a race, where they are used.
template <class T>
static T atomicExch(T* address, T value) {
  return std::atomic_ref<T>(*address).exchange(value, replay::relaxed);
}
template <class T>
static T atomicAdd(T* address, std::type_identity_t<T> value) {
  return std::atomic_ref<T>(*address).fetch_add(value, replay::relaxed);
}
static inline unsigned atomicInc(unsigned* address, unsigned limit) {
  std::atomic_ref<unsigned> word(*address);
  unsigned old = word.load(replay::relaxed);
  while (!word.compare_exchange_strong(old, old >= limit ? 0 : old + 1, replay::relaxed)) {
  }
  return old;
}
static inline void __threadfence() { race_pass_fence(); }

static inline void __syncthreads() {
  replay::block->meet();
  race_pass_barrier(true);
}
static inline void __syncwarp(unsigned = 0xffffffff) {
  replay::warp().meet();
  race_pass_barrier(false);
}

template <class T>
static T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
  return replay::exchange(
      value, [](int lane, int by, int) { return lane ^ by; }, mask, width);
}
template <class T>
static T __shfl_down_sync(unsigned, T value, unsigned by, int width = 32) {
  return replay::exchange(
      value,
      [](int lane, int by, int width) { return lane % width + by < width ? lane + by : lane; },
      (int)by, width);
}
template <class T>
static T __shfl_up_sync(unsigned, T value, unsigned by, int width = 32) {
  return replay::exchange(
      value, [](int lane, int by, int width) { return lane % width >= by ? lane - by : lane; },
      (int)by, width);
}
template <class T>
static T __shfl_sync(unsigned, T value, int from, int width = 32) {
  return replay::exchange(
      value,
      [](int lane, int from, int width) { return lane / width * width + from % width; }, from,
      width);
}
static inline unsigned __ballot_sync(unsigned mask, bool yes) { return replay::vote(mask, yes); }
static inline int __any_sync(unsigned mask, bool yes) { return replay::vote(mask, yes) != 0; }
static inline int __all_sync(unsigned mask, bool yes) { return replay::vote(mask, yes) == mask; }
