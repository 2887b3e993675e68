// Runs recorded launches: driver JOBS MEMORY RESULTS. It is built with AddressSanitizer, like the kernels,
// or with -DRACES to find races.
//
// Each buffer of a job is a heap block of exactly the recorded size. Lines of the JOBS file:
//   case NAME                         a new case; buffers of the previous case are freed
//   buffer SIZE CONTENT               filled from MEMORY at offset CONTENT
//   launch LIBRARY NUMBER IN_TURN GX GY GZ BX BY BZ
//                                     the library's kernel of this number, with the arguments before
//   argument HEX BUFFER OFFSET        BUFFER is -1 for none; else the first 8 bytes are its address
//   fill BUFFER OFFSET SIZE CONTENT   copied from MEMORY at offset CONTENT
//   keep BUFFER                       append its content to RESULTS
#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#ifdef RACES
#include "races.h"
#else
namespace races {
static void watch(const void*, size_t, bool) {}
static void forget(bool) {}
struct Thread {
  void enter_block(long, int) {}
  void pass_barrier(bool) {}
  void pass_fence() {}
};
static Thread* running;
}  // namespace races
#endif
#include "team.h"

struct Buffer {
  char* data;
  size_t size;
};

[[noreturn]] static void fail(const std::string& what) {
  fprintf(stderr, "driver: %s\n", what.c_str());
  _exit(2);
}

static void* symbol(const std::string& library, const std::string& name) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);  // loaded only once
  void* found = handle ? dlsym(handle, name.c_str()) : nullptr;
  if (!found) fail(dlerror());
  return found;
}

static void watch_shared_memory(const std::string& library) {
  const char *begin, *end;
  ((void (*)(const char**, const char**))symbol(library, "replay_shared_memory"))(&begin, &end);
  if (begin) races::watch(begin, end - begin, true);
}

int main(int count, char** paths) {
  if (count != 4) fail("expected JOBS MEMORY RESULTS");
  std::ifstream jobs(paths[1]), memory(paths[2], std::ios::binary);
  std::ofstream results(paths[3], std::ios::binary);
  if (!jobs || !memory || !results) fail("a file can't be opened");
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
      std::string library, number;
      bool in_turn;
      line >> library >> number >> in_turn >> gridDim.x >> gridDim.y >> gridDim.z;
      line >> blockDim.x >> blockDim.y >> blockDim.z;
      std::vector<void*> table;
      for (auto& raw : arguments) table.push_back(raw.data());
      races::forget(false);
      watch_shared_memory(library);
      const auto body = (replay::Body)symbol(library, "replay_body_" + number);
      if (int outcome = (in_turn ? replay::run_in_turn : replay::run_together)(body, table.data()))
        fail("a device-side assert or trap, outcome " + std::to_string(outcome));
      arguments.clear();
    } else if (word == "fill") {
      int number;
      size_t offset, size, content;
      line >> number >> offset >> size >> content;
      memory.seekg(content);
      if (!memory.read(buffers.at(number).data + offset, size)) fail("MEMORY is too short");
    } else if (word == "keep") {
      int number;
      line >> number;
      results.write(buffers.at(number).data, buffers.at(number).size);
    } else {
      fail("unknown line: " + text);
    }
  }
  for (Buffer& buffer : buffers) free(buffer.data);
  return 0;
}
