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
Rows lanes[max_warps];

static Fiber fibers[max_threads];
static char* stacks;
static jmp_buf scheduler;
static ucontext_t entry_context;
static int stop_outcome;
static int threads, turn;  // of the block, and whose turn is next
static bool in_reverse, moved;  // whether one has moved in this round
static void (*body)(void**);
static void** body_arguments;

static inline void release_if_complete(Group& group) {
  if (group.waiting && group.waiting >= group.alive) {
    group.waiting = 0;
    ++group.generation;
  }
}

static void fiber_main();

static void start(Fiber* fiber) {
  fiber->started = true;
  getcontext(&entry_context);
  entry_context.uc_stack.ss_sp = stacks + fiber->number * stack_bytes;
  entry_context.uc_stack.ss_size = stack_bytes;
  entry_context.uc_link = nullptr;
  makecontext(&entry_context, fiber_main, 0);
  setcontext(&entry_context);
}

// Leaves the current fiber for the next one in turn that can go on, or for the scheduler if all have
// ended or a round has found none.
[[noreturn]] static void go_on() {
  for (;;) {
    if (turn == threads) {
      if (!moved) _longjmp(scheduler, 1);
      turn = 0;
      moved = false;
    }
    Fiber* fiber = &fibers[in_reverse ? threads - 1 - turn : turn];
    ++turn;
    if (fiber->finished || (fiber->awaited && *fiber->awaited == fiber->seen)) continue;
    fiber->awaited = nullptr;
    moved = true;
    current = fiber;
    threadIdx = fiber->index;
    if (fiber->started) _longjmp(fiber->context, 1);
    start(fiber);
  }
}

void wait(Group& group) {
  Fiber* self = current;
  self->seen = group.generation;
  ++group.waiting;
  release_if_complete(group);
  if (group.generation != self->seen) return;  // the last to come need not stop
  self->awaited = &group.generation;
  if (!_setjmp(self->context)) go_on();
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
    if (_setjmp(current->context)) continue;
    if (stop_outcome) _longjmp(scheduler, 1);
    go_on();
  }
}

// Steps to the next position of a block without the divisions of `place`.
static inline void advance(uint3& at, dim3 size) {
  if (++at.x < size.x) return;
  at.x = 0;
  if (++at.y < size.y) return;
  at.y = 0;
  ++at.z;
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
  uint3 at = {0, 0, 0};
  for (int n = 0; n < count; ++n) {
    fibers[n].index = at;
    advance(at, blockDim);
    fibers[n].number = n;
    if (!fibers[n].finished) fibers[n].started = false;  // or it is within a block that was stopped
    fibers[n].finished = false;
    fibers[n].awaited = nullptr;
  }
  threads = turn = count;
  in_reverse = reversed;
  moved = true;
  if (!_setjmp(scheduler)) go_on();
  if (stop_outcome) return stop_outcome;
  return block.alive ? divergent_barrier : done;
}

unsigned ballot(bool vote) {
  Lane* const row = emulated::row();
  const int mark = warp().generation;
  row[current->number % 32].value[0] = vote;
  row[current->number % 32].mark = mark;
  wait(warp());
  unsigned result = 0;
  for (int n = 0; n < 32; ++n)
    if (row[n].mark == mark && row[n].value[0]) result |= 1u << n;
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
      uint3 at = {0, 0, 0};
      for (int t = 0; t < threads; ++t) {
        threadIdx = reversed ? place(threads - 1 - t, blockDim) : at;
        kernel(arguments);
        advance(at, blockDim);
      }
    }
  } catch (const Stop& stop) {
    return stop.outcome;
  }
  return done;
}

}  // namespace emulated
