// Blocks whose threads meet: barriers, shared memory, warp shuffles and votes.
//
// Each CUDA thread of a block is a fibre with its own stack. A fibre runs until it waits, then the
// next one runs, in a fixed order: runs are repeatable, and a race may stay hidden in it. The first entry
// into a fibre uses ucontext; afterwards _setjmp/_longjmp switch, which need no system call.
#pragma once
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

// All __shared__ variables lie in one section, so that each block can begin with them poisoned.
#define __shared__ static __attribute__((section("emulated_shared")))
extern "C" {
extern char __start_emulated_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_emulated_shared[] __attribute__((weak, visibility("hidden")));
}

namespace emulated {

constexpr int max_threads = 1024, max_warps = max_threads / 32;
constexpr size_t stack_bytes = 64 * 1024, max_dynamic_shared = 228 * 1024;

alignas(128) static char dynamic_shared[max_dynamic_shared];

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

static Fiber fibers[max_threads];
static Fiber* current;
static Group block, warps[max_warps];
static char* stacks;
static jmp_buf scheduler;
static ucontext_t entry_context, scheduler_context;
static int stop_outcome;
static void (*body)(void**);
static void** body_arguments;
static Lane lanes[max_warps][32];

static inline void release_if_complete(Group& group) {
  if (group.waiting && group.waiting >= group.alive) {
    group.waiting = 0;
    ++group.generation;
  }
}
static inline Group& warp() { return warps[current->number / 32]; }

static void wait(Group& group) {
  Fiber* self = current;
  self->seen = group.generation;
  ++group.waiting;
  release_if_complete(group);
  if (group.generation != self->seen) return;  // the last to come need not stop
  self->awaited = &group.generation;
  if (!_setjmp(self->context)) _longjmp(scheduler, 1);
}

static void fiber_main() {
  try {
    body(body_arguments);
  } catch (const Stop& stop) {
    stop_outcome = stop.outcome;
  }
  current->finished = true;
  --block.alive;
  --warp().alive;
  release_if_complete(block);
  release_if_complete(warp());
  _longjmp(scheduler, 1);
}

static void start(Fiber* fiber) {
  fiber->started = true;
  getcontext(&entry_context);
  entry_context.uc_stack.ss_sp = stacks + fiber->number * stack_bytes;
  entry_context.uc_stack.ss_size = stack_bytes;
  entry_context.uc_link = nullptr;
  makecontext(&entry_context, fiber_main, 0);
  setcontext(&entry_context);
}

// Runs one block to its end; an Outcome.
static int run_block(void (*kernel)(void**), void** arguments, size_t shared_bytes,
                     bool reversed) {
  const int count = (int)(blockDim.x * blockDim.y * blockDim.z);
  if (!stacks)
    stacks = (char*)mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (__start_emulated_shared)
    memset(__start_emulated_shared, 0xFF, __stop_emulated_shared - __start_emulated_shared);
  memset(dynamic_shared, 0xFF, shared_bytes);
  body = kernel;
  body_arguments = arguments;
  stop_outcome = done;
  block = {count, 0, block.generation + 1};
  for (int w = 0; w * 32 < count; ++w)
    warps[w] = {count - w * 32 < 32 ? count - w * 32 : 32, 0, warps[w].generation + 1};
  for (int n = 0; n < count; ++n) {
    fibers[n].index = place(n, blockDim);
    fibers[n].number = n;
    fibers[n].started = fibers[n].finished = false;
    fibers[n].awaited = nullptr;
  }
  // volatile: these are changed between _setjmp and _longjmp
  for (volatile int left = count; left > 0;) {
    volatile bool moved = false;
    for (volatile int turn = 0; turn < count; turn = turn + 1) {
      Fiber* fiber = &fibers[reversed ? count - 1 - turn : turn];
      if (fiber->finished || (fiber->awaited && *fiber->awaited == fiber->seen)) continue;
      fiber->awaited = nullptr;
      current = fiber;
      threadIdx = fiber->index;
      if (!_setjmp(scheduler)) {
        if (fiber->started) _longjmp(fiber->context, 1);
        start(fiber);
      }
      moved = true;
      if (stop_outcome) return stop_outcome;
      if (current->finished) left = left - 1;
    }
    if (!moved) return divergent_barrier;
  }
  return done;
}

// One exchange within a warp: every lane leaves a value, marked with the barrier it was left for, and
// may then read another lane's. A value without that mark is from a lane that did not take part.
template <class T>
static T exchange(T value, int source, int width) {
  static_assert(sizeof(T) <= 16, "warp shuffles carry up to 16 bytes here");
  const int lane = current->number % 32, first = lane / width * width;
  Lane* const row = lanes[current->number / 32];
  const int mark = warp().generation;
  memcpy(row[lane].value, &value, sizeof(T));
  row[lane].mark = mark;
  wait(warp());
  T received = value;
  if (source >= first && source < first + width && row[source].mark == mark)
    memcpy(&received, row[source].value, sizeof(T));
  wait(warp());
  return received;
}
static unsigned ballot(bool vote) {
  Lane* const row = lanes[current->number / 32];
  const int mark = warp().generation;
  row[current->number % 32].value[0] = vote;
  row[current->number % 32].mark = mark;
  wait(warp());
  unsigned result = 0;
  for (int n = 0; n < 32; ++n)
    if (row[n].mark == mark && row[n].value[0]) result |= 1u << n;
  wait(warp());
  return result;
}
static int count_votes(bool vote) {  // of a whole block
  const int mark = block.generation;
  current->vote = vote;
  current->vote_mark = mark;
  wait(block);
  int result = 0;
  for (const Fiber& fiber : fibers) result += fiber.vote_mark == mark && fiber.vote;
  wait(block);
  return result;
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
