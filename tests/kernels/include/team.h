// A grid of CUDA threads: their state, and how they wait for each other.
//
// Blocks run one after the other. Each thread of a block is a fiber with its own stack. It runs until it
// waits, and then the next thread runs, in a fixed order. The functions that order memory in CUDA,
// __syncthreads(), __syncwarp() and __threadfence(), notify the race checker (races.h), which finds races
// for any order of threads. As in CUDA, shuffles and votes exchange values without ordering memory.
// Kernels use these definitions through threads.h.
#pragma once
#include <stdint.h>
#include <sys/mman.h>

#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
};
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace replay {

using Body = int (*)(void** arguments);  // 0, or why the thread stopped

constexpr int lanes = 32, divergent_barrier = 1;
constexpr size_t stack_bytes = 256 * 1024;

static unsigned long long volume(dim3 size) { return (unsigned long long)size.x * size.y * size.z; }

// The n-th position of a grid or block, x fastest.
static uint3 place(unsigned long long n, dim3 size) {
  return {(unsigned)(n % size.x), (unsigned)(n / size.x % size.y), (unsigned)(n / size.x / size.y)};
}

// Saves the callee-saved registers and the end of the stack in *from, and resumes at `to`.
extern "C" void replay_switch(void** from, void* to);
asm(R"(
.text
.type replay_switch, @function
replay_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size replay_switch, . - replay_switch
)");

// A stack that can be switched to.
struct Stack {
  void* end = nullptr;  // the end of its content, while another stack is in use
  const void* bottom = nullptr;
  size_t size = 0;
  void* fake = nullptr;  // AddressSanitizer's fake stack

  void switch_to(Stack& other) {
    __sanitizer_start_switch_fiber(&fake, other.bottom, other.size);
    replay_switch(&end, other.end);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
  }
};

struct Group {  // threads that wait for each other
  int alive = 0, waiting = 0, generation = 0;

  void release_if_complete() {
    if (!waiting || waiting < alive) return;
    waiting = 0;
    ++generation;
  }
  void leave() {
    --alive;
    release_if_complete();
  }
  void meet();
};

// Lanes exchange values in two buffers: one is overwritten only after all lanes have read the other.
struct Warp : Group {
  uint64_t shown[2][lanes];
};

struct Thread {
  int number;  // within its block
  unsigned turn = 0;
  bool finished = false;
  const Group* awaited = nullptr;
  int seen = 0;  // the group's generation
  Stack stack;
  races::Thread accesses;

  bool ready() const { return !finished && !(awaited && awaited->generation == seen); }
};

static Stack scheduler;
static std::vector<Thread> threads;
static Thread* current;
static Group block;
static std::vector<Warp> warps;
static Body body;
static void** body_arguments;
static int outcome;

static Warp& warp() { return warps[current->number / lanes]; }

void Group::meet() {
  Thread* const self = current;
  self->seen = generation;
  ++waiting;
  release_if_complete();
  if (generation != self->seen) return;  // the last thread does not wait
  self->awaited = this;
  self->stack.switch_to(scheduler);
}

__attribute__((no_sanitize("address"))) static void run_thread() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size);
  if (const int found = body(body_arguments)) outcome = found;
  current->finished = true;
  warp().leave();
  block.leave();
  current->stack.switch_to(scheduler);
}

// Let a thread begin with `run_thread` when its stack is first used.
static void prepare(Thread& thread, char* memory) {
  thread.stack.bottom = memory;
  thread.stack.size = stack_bytes;
  void** end = (void**)(memory + stack_bytes) - 2;  // the alignment at a function's entry, after the return address
  *end = (void*)run_thread;
  thread.stack.end = end - 6;  // the registers that `replay_switch` pops, with any values
}

static int run_block(int count, int number) {
  static char* const stacks = (char*)mmap(nullptr, 1024 * stack_bytes, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  block = {count};
  warps.assign((count + lanes - 1) / lanes, {});
  threads.assign(count, {});
  for (int t = 0; t < count; ++t) {
    threads[t].number = t;
    threads[t].accesses.enter_block(number, t);
    ++warps[t / lanes].alive;
    prepare(threads[t], stacks + t * stack_bytes);
  }
  while (block.alive) {
    bool moved = false;
    for (Thread& thread : threads) {
      if (!thread.ready()) continue;
      thread.awaited = nullptr;
      current = &thread;
      races::running = &thread.accesses;
      threadIdx = place(thread.number, blockDim);
      scheduler.switch_to(thread.stack);
      moved = true;
    }
    if (!moved) return divergent_barrier;
  }
  return outcome;
}

// Runs a grid whose threads wait for each other within blocks.
static int run_together(Body kernel, void** arguments) {
  body = kernel;
  body_arguments = arguments;
  outcome = 0;
  for (unsigned long long b = 0; b < volume(gridDim); ++b) {
    blockIdx = place(b, gridDim);
    if (const int found = run_block((int)volume(blockDim), b)) return found;
  }
  return 0;
}

// Runs a grid whose threads neither share memory nor wait: one thread after the other.
static int run_in_turn(Body body, void** arguments) {
  for (unsigned long long b = 0; b < volume(gridDim); ++b) {
    blockIdx = place(b, gridDim);
    for (unsigned long long t = 0; t < volume(blockDim); ++t) {
      threadIdx = place(t, blockDim);
      if (const int outcome = body(arguments)) return outcome;
    }
  }
  return 0;
}

}  // namespace replay

// ---- functions that kernels call ------------------------------------------------------------------
extern "C" int replay_lane() { return replay::current->number % replay::lanes; }

extern "C" void replay_meet(bool whole_block) {
  if (whole_block)
    replay::block.meet();
  else
    replay::warp().meet();
  races::running->pass_barrier(whole_block);
}

extern "C" void replay_let_others() { replay::current->stack.switch_to(replay::scheduler); }

extern "C" void replay_fence() { races::running->pass_fence(); }

extern "C" uint64_t replay_exchange(uint64_t bits, int from) {
  replay::Warp& mine = replay::warp();
  auto& shown = mine.shown[replay::current->turn++ % 2];
  shown[replay_lane()] = bits;
  mine.meet();
  return shown[from];
}

extern "C" unsigned replay_vote(unsigned mask, bool yes) {
  replay::Warp& mine = replay::warp();
  auto& shown = mine.shown[replay::current->turn++ % 2];
  shown[replay_lane()] = yes;
  mine.meet();
  unsigned votes = 0;
  for (int lane = 0; lane < replay::lanes; ++lane)
    if (mask >> lane & 1 && shown[lane]) votes |= 1u << lane;
  return votes;
}
