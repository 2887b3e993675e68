// After a kernel's source and the emulator's entry.h: REPLAY(kernel) exports a function that runs a
// grid, with a host thread for each thread of a block or, if SERIAL is defined, one after the other.
#pragma once

namespace replay {

using Body = void (*)(void**);
using Team = void (*)(int threads, void (*work)(void* context, int thread), void* context);

static inline unsigned long long volume(dim3 size) {
  return (unsigned long long)size.x * size.y * size.z;
}

#ifdef SERIAL

static int run(Body body, void** arguments, Team) {
  try {
    for (unsigned long long b = 0; b < volume(gridDim); ++b) {
      blockIdx = emulated::place(b, gridDim);
      for (unsigned long long t = 0; t < volume(blockDim); ++t) {
        threadIdx = emulated::place(t, blockDim);
        body(arguments);
      }
    }
  } catch (const emulated::Stop& stop) {
    return stop.outcome;
  }
  return emulated::done;
}

#else

struct Launch {
  Body body;
  void** arguments;
  std::vector<std::unique_ptr<Block>> blocks;
  Group between;
  std::atomic<int> outcome{emulated::done};
};

static void run_thread(void* context, int t) {
  Launch& launch = *(Launch*)context;
  number = t;
  threadIdx = emulated::place(t, blockDim);
  for (size_t b = 0; b < launch.blocks.size(); ++b) {
    launch.between.meet();  // shared memory is of one block at a time
    race_enter_block(b, t);
    blockIdx = emulated::place(b, gridDim);
    block = launch.blocks[b].get();
    turn = 0;
    try {
      launch.body(launch.arguments);
    } catch (const emulated::Stop& stop) {
      launch.outcome = stop.outcome;
    }
    warp().leave();
    block->leave();
  }
}

static int run(Body body, void** arguments, Team team) {
  const int threads = (int)volume(blockDim);
  Launch launch{body, arguments};
  launch.between.enter(threads);
  for (unsigned long long b = 0; b < volume(gridDim); ++b)
    launch.blocks.emplace_back(new Block(threads));
  if (__start_replay_shared)
    race_watch_shared(__start_replay_shared, __stop_replay_shared - __start_replay_shared);
  team(threads, run_thread, &launch);
  return launch.outcome;
}

#endif

}  // namespace replay

#define REPLAY(...)                                                                             \
  extern "C" int replay_run(void** arguments, const unsigned* g, const unsigned* b,             \
                            replay::Team team) {                                                \
    gridDim = {g[0], g[1], g[2]};                                                               \
    blockDim = {b[0], b[1], b[2]};                                                              \
    return replay::run(emulated::Kernel<&__VA_ARGS__>::body, arguments, team);                  \
  }
