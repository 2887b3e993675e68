// Functions that a kernel calls when the driver runs its threads (team.h).
//
// As in CUDA, atomic operations alone order nothing. They are compiled here, so that the race checker (races.h)
// observes them.
#pragma once
#define atomicAdd emulated_add  // the shim's are ordinary accesses, which would be reported as races
#define atomicExch emulated_exchange
#define atomicInc emulated_increment
#include "shim.h"
#undef atomicAdd
#undef atomicExch
#undef atomicInc
#undef __threadfence
#include "entry.h"

// Shared memory of the running block. It is all in one section, which the race checker recognizes.
#define __shared__ static __attribute__((section("replay_shared")))

extern "C" {
extern char __start_replay_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_replay_shared[] __attribute__((weak, visibility("hidden")));

int replay_lane();
void replay_meet(bool whole_block);
void replay_fence();
void replay_let_others();
uint64_t replay_exchange(uint64_t bits, int from);
unsigned replay_vote(unsigned mask, bool yes);
}

namespace replay {

// Passes a value to the other lanes, and returns the value of one lane.
template <class T>
static T exchange(T value, int from) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a lane shows 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = replay_exchange(bits, from);
  memcpy(&value, &bits, sizeof(T));
  return value;
}

// Replaces a word atomically, and returns the earlier one. A thread may repeat this until another thread has
// changed the word, so other threads run first.
template <class T, class Change>
static T replace(T* word, Change change) {
  replay_let_others();
  T old, next;
  __atomic_load(word, &old, __ATOMIC_RELAXED);
  do {
    next = change(old);
  } while (!__atomic_compare_exchange(word, &old, &next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace replay

// The other atomic functions are the shim's, whose use is reported as a race.
template <class T>
static T atomicExch(T* address, T value) {
  return replay::replace(address, [=](T) { return value; });
}
template <class T>
static T atomicAdd(T* address, std::type_identity_t<T> value) {
  return replay::replace(address, [=](T old) { return old + value; });
}
static inline unsigned atomicInc(unsigned* address, unsigned limit) {
  return replay::replace(address, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}

static inline void __threadfence() { replay_fence(); }
static inline void __syncthreads() { replay_meet(true); }
static inline void __syncwarp(unsigned = 0xffffffff) { replay_meet(false); }

template <class T>
static T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
  return replay::exchange(value, replay_lane() ^ mask);
}
template <class T>
static T __shfl_down_sync(unsigned, T value, unsigned by, int width = 32) {
  const int lane = replay_lane();
  return replay::exchange(value, lane % width + (int)by < width ? lane + (int)by : lane);
}
template <class T>
static T __shfl_up_sync(unsigned, T value, unsigned by, int width = 32) {
  const int lane = replay_lane();
  return replay::exchange(value, lane % width >= (int)by ? lane - (int)by : lane);
}
template <class T>
static T __shfl_sync(unsigned, T value, int from, int width = 32) {
  return replay::exchange(value, replay_lane() / width * width + from % width);
}
static inline unsigned __ballot_sync(unsigned mask, bool yes) { return replay_vote(mask, yes); }
static inline int __any_sync(unsigned mask, bool yes) { return replay_vote(mask, yes) != 0; }
static inline int __all_sync(unsigned mask, bool yes) { return replay_vote(mask, yes) == mask; }

// After the sources: REPLAY(number, kernel) exports a function that runs one thread of a kernel and returns an
// Outcome. SHARED exports the limits of all kernels' shared memory.
#define REPLAY(number, ...)                             \
  EXPORTED int replay_body_##number(void** arguments) { \
    try {                                               \
      emulated::Kernel<&__VA_ARGS__>::body(arguments);  \
    } catch (const emulated::Stop& stop) {              \
      return stop.outcome;                              \
    }                                                   \
    return emulated::done;                              \
  }
#define SHARED                                                                          \
  EXPORTED void replay_shared_memory(const char** begin, const char** end) {                 \
    *begin = __start_replay_shared;                                                     \
    *end = __stop_replay_shared;                                                        \
  }
