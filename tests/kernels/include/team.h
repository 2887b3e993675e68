// A grid of CUDA threads as threads of the host: where each one is, and how they wait for each other.
//
// Blocks run one after the other. What orders memory in CUDA, __syncthreads(), __syncwarp() and
// __threadfence(), is told to the race checker (races.h). Shuffles and votes exchange values but order
// nothing, as CUDA has it. Kernels know what is defined here by threads.h.
#pragma once
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
};
__thread uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace replay {

using Body = int (*)(void** arguments);  // 0, or why the thread stopped

constexpr int lanes = 32;
constexpr auto relaxed = std::memory_order_relaxed;

static unsigned long long volume(dim3 size) { return (unsigned long long)size.x * size.y * size.z; }

// The n-th position of a grid or block, x fastest.
static uint3 place(unsigned long long n, dim3 size) {
  return {(unsigned)(n % size.x), (unsigned)(n / size.x % size.y), (unsigned)(n / size.x / size.y)};
}

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

struct Launch {
  Body body;
  void** arguments;
  std::vector<std::unique_ptr<Block>> blocks;
  Group between;
  std::atomic<int> outcome{0};
};

static thread_local Block* block;
static thread_local int number;  // of the thread within its block
static thread_local unsigned turn;

static Warp& warp() { return block->warps[number / lanes]; }

static void run_thread(Launch& launch, int t) {
  number = t;
  threadIdx = place(t, blockDim);
  for (size_t b = 0; b < launch.blocks.size(); ++b) {
    launch.between.meet();  // shared memory is of one block at a time
    races::enter_block(b, t);
    blockIdx = place(b, gridDim);
    block = launch.blocks[b].get();
    turn = 0;
    if (const int outcome = launch.body(launch.arguments)) launch.outcome = outcome;
    warp().leave();
    block->leave();
  }
}

// Threads that stay from launch to launch; starting them costs more than most kernels do.
struct Worker {
  sem_t begin;
  std::thread thread;
};
static std::vector<std::unique_ptr<Worker>> workers;
static sem_t ended;
static Launch* current;

static void work(Worker* worker, int number) {
  for (;;) {
    while (sem_wait(&worker->begin)) {
    }
    if (!current) return;
    run_thread(*current, number);
    sem_post(&ended);
  }
}

// Runs a grid, a block's threads side by side.
static int run_together(Body body, void** arguments) {
  const int threads = (int)volume(blockDim);
  if (workers.empty()) sem_init(&ended, 0, 0);
  while ((int)workers.size() < threads) {
    const int number = (int)workers.size();
    workers.emplace_back(new Worker);
    Worker* worker = workers.back().get();
    sem_init(&worker->begin, 0, 0);
    worker->thread = std::thread(work, worker, number);
  }
  Launch launch{body, arguments};
  launch.between.enter(threads);
  for (unsigned long long b = 0; b < volume(gridDim); ++b)
    launch.blocks.emplace_back(new Block(threads));
  current = &launch;
  for (int t = 0; t < threads; ++t) sem_post(&workers[t]->begin);
  for (int t = 0; t < threads; ++t)
    while (sem_wait(&ended)) {
    }
  return launch.outcome;
}

static void dismiss() {
  current = nullptr;
  for (auto& worker : workers) sem_post(&worker->begin);
  for (auto& worker : workers) worker->thread.join();
}

// Runs a grid whose threads neither share memory nor wait, one after the other.
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

// ---- what kernels call ----------------------------------------------------------------------------
extern "C" int replay_lane() { return replay::number % replay::lanes; }

extern "C" void replay_meet(bool whole_block) {
  if (whole_block)
    replay::block->meet();
  else
    replay::warp().meet();
  races::pass_barrier(whole_block);
}

extern "C" void replay_fence() { races::pass_fence(); }

extern "C" uint64_t replay_exchange(uint64_t bits, int from) {
  replay::Warp& mine = replay::warp();
  auto& shown = mine.shown[replay::turn++ % 2];
  shown[replay_lane()].store(bits, replay::relaxed);
  mine.meet();
  return shown[from].load(replay::relaxed);
}

extern "C" unsigned replay_vote(unsigned mask, bool yes) {
  replay::Warp& mine = replay::warp();
  auto& shown = mine.shown[replay::turn++ % 2];
  shown[replay_lane()].store(yes, replay::relaxed);
  mine.meet();
  unsigned votes = 0;
  for (int lane = 0; lane < replay::lanes; ++lane)
    if (mask >> lane & 1 && shown[lane].load(replay::relaxed)) votes |= 1u << lane;
  return votes;
}
