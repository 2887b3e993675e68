// Runs the threads of a kernel's grid: one after the other, or as fibers if they meet (fibers.h).
//
// The first entry into a fiber uses ucontext; afterwards _setjmp/_longjmp switch, which need no system
// call. A fiber whose thread has ended waits for the thread of another block.
#include <sys/mman.h>
#include <ucontext.h>

#include "shim.h"
#include "fibers.h"
#include "entry.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulated {

constexpr size_t stack_bytes = 64 * 1024;

alignas(128) char dynamic_shared[max_dynamic_shared];
Fiber* current;
Group block, warps[max_warps];
Lane lanes[max_warps][32];

static Fiber fibers[max_threads];
static char* stacks;
static jmp_buf scheduler;
static ucontext_t entry_context;
static int stop_outcome;
static void (*body)(void**);
static void** body_arguments;

static inline void release_if_complete(Group& group) {
  if (group.waiting && group.waiting >= group.alive) {
    group.waiting = 0;
    ++group.generation;
  }
}

void wait(Group& group) {
  Fiber* self = current;
  self->seen = group.generation;
  ++group.waiting;
  release_if_complete(group);
  if (group.generation != self->seen) return;  // the last to come need not stop
  self->awaited = &group.generation;
  if (!_setjmp(self->context)) _longjmp(scheduler, 1);
}

static void fiber_main() {
  for (;;) {
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
    if (!_setjmp(current->context)) _longjmp(scheduler, 1);
  }
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
static int run_block(void (*kernel)(void**), void** arguments, size_t shared_bytes, bool reversed,
                     const Shared& shared) {
  const int count = (int)(blockDim.x * blockDim.y * blockDim.z);
  if (!stacks)
    stacks = (char*)mmap(nullptr, max_threads * stack_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shared.start) memset(shared.start, 0xFF, shared.stop - shared.start);
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
    if (!fibers[n].finished) fibers[n].started = false;  // or it is within a block that was stopped
    fibers[n].finished = false;
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

unsigned ballot(bool vote) {
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
int count_votes(bool vote) {
  const int mark = block.generation;
  current->vote = vote;
  current->vote_mark = mark;
  wait(block);
  int result = 0;
  for (const Fiber& fiber : fibers) result += fiber.vote_mark == mark && fiber.vote;
  wait(block);
  return result;
}

int run(void (*kernel)(void**), void** arguments, const Grid* launch, const Shared* shared) {
  const unsigned *g = launch->grid, *b = launch->block;
  gridDim = {g[0], g[1], g[2]};
  blockDim = {b[0], b[1], b[2]};
  const long long blocks = (long long)g[0] * g[1] * g[2];
  const int threads = (int)(b[0] * b[1] * b[2]);
  const bool reversed = launch->reversed;
  try {
    for (long long n = 0; n < blocks; ++n) {
      blockIdx = place(reversed ? blocks - 1 - n : n, gridDim);
      if (shared) {
        if (int outcome = run_block(kernel, arguments, launch->shared_bytes, reversed, *shared))
          return outcome;
        continue;
      }
      for (int t = 0; t < threads; ++t) {
        threadIdx = place(reversed ? threads - 1 - t : t, blockDim);
        kernel(arguments);
      }
    }
  } catch (const Stop& stop) {
    return stop.outcome;
  }
  return done;
}

}  // namespace emulated
