// Runs recorded launches: driver JOBS MEMORY RESULTS, built with AddressSanitizer as the kernels are,
// or, where races are looked for, with -DRACES.
//
// Each buffer of a job is a heap block of exactly the recorded size. Lines of the JOBS file:
//   case NAME                         a new case; the buffers of the one before are freed
//   buffer SIZE CONTENT               filled from MEMORY at offset CONTENT
//   launch LIBRARY GX GY GZ BX BY BZ  of the arguments given before
//   argument HEX BUFFER OFFSET        BUFFER is -1 for none; else the first 8 bytes are its address
//   keep BUFFER                       append its content to RESULTS
#include <dlfcn.h>
#include <semaphore.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#ifdef RACES
#include "races.h"
#else
namespace races {
static void watch(const void*, size_t, bool) {}
static void forget(bool) {}
}  // namespace races
#endif

using Work = void (*)(void* context, int thread);
using Team = void (*)(int threads, Work work, void* context);
using Run = int (*)(void**, const unsigned*, const unsigned*, Team);

struct Buffer {
  char* data;
  size_t size;
};

[[noreturn]] static void fail(const std::string& what) {
  fprintf(stderr, "driver: %s\n", what.c_str());
  _exit(2);
}

// Threads that stay from launch to launch; starting them costs more than most kernels do.
struct Worker {
  sem_t begin;
  std::thread thread;
};
static std::vector<std::unique_ptr<Worker>> workers;
static sem_t ended;
static Work current_work;
static void* current_context;

static void team(int threads, Work work, void* context) {
  current_work = work;
  current_context = context;
  while ((int)workers.size() < threads) {
    const int number = (int)workers.size();
    workers.emplace_back(new Worker);
    Worker* worker = workers.back().get();
    sem_init(&worker->begin, 0, 0);
    worker->thread = std::thread([worker, number] {
      for (;;) {
        while (sem_wait(&worker->begin)) {
        }
        if (!current_work) return;
        current_work(current_context, number);
        sem_post(&ended);
      }
    });
  }
  for (int t = 0; t < threads; ++t) sem_post(&workers[t]->begin);
  for (int t = 0; t < threads; ++t)
    while (sem_wait(&ended)) {
    }
}

static void dismiss() {
  current_work = nullptr;
  for (auto& worker : workers) sem_post(&worker->begin);
  for (auto& worker : workers) worker->thread.join();
}

static Run load(const std::string& library) {
  static std::map<std::string, Run> known;
  Run& run = known[library];
  if (run) return run;
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle) run = (Run)dlsym(handle, "replay_run");
  if (!run) fail(dlerror());
  return run;
}

int main(int count, char** paths) {
  if (count != 4) fail("expected JOBS MEMORY RESULTS");
  std::ifstream jobs(paths[1]), memory(paths[2], std::ios::binary);
  std::ofstream results(paths[3], std::ios::binary);
  if (!jobs || !memory || !results) fail("a file can't be opened");
  sem_init(&ended, 0, 0);
  std::vector<Buffer> buffers;
  std::vector<std::vector<char>> arguments;
  std::string text;
  while (std::getline(jobs, text)) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "case") {
      for (Buffer& buffer : buffers) free(buffer.data);
      buffers.clear();
      races::forget(true);
      fprintf(stderr, "%s\n", text.c_str());
    } else if (word == "buffer") {
      Buffer buffer;
      size_t content;
      line >> buffer.size >> content;
      buffer.data = (char*)malloc(buffer.size);
      memory.seekg(content);
      if (!memory.read(buffer.data, buffer.size)) fail("MEMORY is too short");
      buffers.push_back(buffer);
      races::watch(buffer.data, buffer.size, false);
    } else if (word == "argument") {
      std::string hex;
      int number;
      size_t offset;
      line >> hex >> number >> offset;
      std::vector<char> raw((hex.size() / 2 + 15) / 16 * 16);
      for (size_t k = 0; k < hex.size() / 2; ++k)
        raw[k] = (char)std::stoi(hex.substr(2 * k, 2), nullptr, 16);
      if (number >= 0) {
        const char* address = buffers.at(number).data + offset;
        memcpy(raw.data(), &address, sizeof address);
      }
      arguments.push_back(raw);
    } else if (word == "launch") {
      std::string library;
      unsigned grid[3], block[3];
      line >> library >> grid[0] >> grid[1] >> grid[2] >> block[0] >> block[1] >> block[2];
      std::vector<void*> table;
      for (auto& raw : arguments) table.push_back(raw.data());
      races::forget(false);
      if (int outcome = load(library)(table.data(), grid, block, team))
        fail("a device-side assert or trap, outcome " + std::to_string(outcome));
      arguments.clear();
    } else if (word == "keep") {
      int number;
      line >> number;
      results.write(buffers.at(number).data, buffers.at(number).size);
    } else {
      fail("unknown line: " + text);
    }
  }
  for (Buffer& buffer : buffers) free(buffer.data);
  dismiss();
  return 0;
}
