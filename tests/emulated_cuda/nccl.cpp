// The C interface of NCCL, as far as all-to-all and all-gather need it, between processes or threads
// of one machine. What a call or a group asks for becomes a list of operations, which Python checks
// and submits to a stream; `emulated_nccl_run` then does it, by way of shared memory.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

enum Status {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  internal_error = 3,
  invalid_argument = 4,
  invalid_usage = 5,
  remote_error = 6
};
enum Kind { all_gather = 0, send = 1, receive = 2 };
constexpr int most_ranks = 16, most_operations = 256;
constexpr size_t room = 16 << 20;  // bytes of a rank in one exchange; pages not used take no memory
const char* const kinds[] = {"ncclAllGather", "ncclSend", "ncclRecv"};

struct Operation {
  int kind, type, peer, unused;
  uint64_t count;
  const void* source;
  void* target;
};

struct Said {  // what a rank asks for in an exchange
  uint64_t number;
  int nodes;  // collective calls of the graph that this is launched by; 0 outside of graphs
  int count;
  Operation operations[most_operations];
  uint64_t offsets[most_operations];  // of what it gives, in its room
};

struct Rank {
  int there, gone, device;
  pid_t process;
  uint64_t arrived, departed;  // numbers of exchanges
  Said said;
};

struct World {
  std::atomic<int> ready;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int size;
  Rank ranks[most_ranks];
  alignas(64) char data[most_ranks][room];
};

struct Id {  // a ncclUniqueId
  char name[128];
};

struct Comm {
  World* world;
  int rank, size, device;
  uint64_t number;            // of its last exchange
  std::atomic<int> state;     // 0, or why it is of no more use
  std::atomic<int> error;     // what ncclCommGetAsyncError says
};
enum State { usable = 0, destroyed = 1, aborted = 2 };

struct Waiting {
  Comm* comm;
  void* stream;
  Operation operation;
};
thread_local int depth;
thread_local std::vector<Waiting> group;

int (*submit)(Comm*, void* stream, const Operation*, int count);
int (*current_device)();
int (*in_graphs)(Comm*);  // whether graphs that are not destroyed have calls of it

int size_of(int type) {
  switch (type) {
    case 0: case 1: return 1;
    case 2: case 3: case 7: return 4;
    case 4: case 5: case 8: return 8;
    case 6: case 9: return 2;
    default: return 0;
  }
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double patience() {
  const char* given = getenv("GPUNN_EMULATED_NCCL_TIMEOUT");
  return given ? atof(given) : 60.0;
}

class Lock {
 public:
  explicit Lock(World* world) : mutex_(&world->mutex) {
    if (pthread_mutex_lock(mutex_) == EOWNERDEAD) pthread_mutex_consistent(mutex_);
  }
  ~Lock() { pthread_mutex_unlock(mutex_); }
  void wait(pthread_cond_t* changed) {  // or for 10 ms
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_nsec += 10'000'000;
    if (t.tv_nsec >= 1'000'000'000) t.tv_sec++, t.tv_nsec -= 1'000'000'000;
    if (pthread_cond_timedwait(changed, mutex_, &t) == EOWNERDEAD) pthread_mutex_consistent(mutex_);
  }

 private:
  pthread_mutex_t* mutex_;
};

std::string rank_name(int rank) { return "rank " + std::to_string(rank); }

std::string in_words(const Said& said) {
  std::string words = said.nodes ? "in a graph with " + std::to_string(said.nodes) +
                                       " collective call" + (said.nodes == 1 ? "" : "s") + ": "
                                 : "";
  for (int i = 0; i < said.count && i < 4; i++) {
    const Operation& o = said.operations[i];
    words += (i ? ", " : "") + std::string(kinds[o.kind]) + "(count " + std::to_string(o.count) +
             ", type " + std::to_string(o.type);
    words += o.kind == all_gather ? ")" : ", peer " + std::to_string(o.peer) + ")";
  }
  return words + (said.count > 4 ? ", ..." : "");
}

// What is wrong with what all ranks have said, the same on each; nothing if it fits together
std::string contradiction(const World* world, uint64_t number) {
  auto differ = [&](int one, int two) {
    return "exchange number " + std::to_string(number) + ": " + rank_name(one) + " does " +
           in_words(world->ranks[one].said) + "; " + rank_name(two) + " does " +
           in_words(world->ranks[two].said);
  };
  auto of_kind = [](const Said& said, int kind, int peer) {
    std::vector<const Operation*> found;
    for (int i = 0; i < said.count; i++)
      if (said.operations[i].kind == kind && (kind == all_gather || said.operations[i].peer == peer))
        found.push_back(&said.operations[i]);
    return found;
  };
  auto equal = [](const std::vector<const Operation*>& a, const std::vector<const Operation*>& b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); i++)
      if (a[i]->count != b[i]->count || a[i]->type != b[i]->type) return false;
    return true;
  };
  for (int one = 0; one < world->size; one++)
    for (int two = 0; two < world->size; two++) {
      const Said &a = world->ranks[one].said, &b = world->ranks[two].said;
      if (a.nodes != b.nodes || !equal(of_kind(a, all_gather, 0), of_kind(b, all_gather, 0)) ||
          !equal(of_kind(a, send, two), of_kind(b, receive, one)))
        return differ(one < two ? one : two, one < two ? two : one);
    }
  return "";
}

// Wait until all ranks have got to a number; what stands in the way, or nothing
std::string wait_for_all(Comm* c, uint64_t Rank::* place, uint64_t number) {
  World* world = c->world;
  const double end = now() + patience();
  Lock lock(world);
  pthread_cond_broadcast(&world->changed);
  for (;;) {
    int late = -1;
    for (int r = 0; r < c->size && late < 0; r++)
      if (world->ranks[r].*place < number) late = r;
    if (late < 0) return "";
    if (c->state) return "the communicator was aborted";
    const Rank& other = world->ranks[late];
    const bool ended = kill(other.process, 0) && errno == ESRCH;
    if (other.gone || ended || now() > end)
      return rank_name(c->rank) + " waits in exchange number " + std::to_string(number) + ", " +
             in_words(world->ranks[c->rank].said) + "; " + rank_name(late) +
             (other.gone ? " has left" : ended ? " has ended" : " has not come") + " after " +
             std::to_string(other.arrived);
    lock.wait(&world->changed);
  }
}

std::string exchange(Comm* c, const Operation* operations, int count, int nodes) {
  if (c->state) return "the communicator was destroyed or aborted before this ran";
  World* world = c->world;
  Rank& own = world->ranks[c->rank];
  if (count > most_operations) return "too many operations in a group for the emulator";
  const uint64_t number = ++c->number;
  Said& said = own.said;
  said.number = number, said.nodes = nodes, said.count = count;
  uint64_t used = 0;
  for (int i = 0; i < count; i++) {
    const Operation& o = operations[i];
    said.operations[i] = o, said.offsets[i] = used;
    if (o.kind == receive) continue;
    const uint64_t bytes = o.count * (uint64_t)size_of(o.type);
    if (used + bytes > room) return "more bytes in an exchange than the emulator has room for";
    std::memcpy(world->data[c->rank] + used, o.source, bytes);
    used += bytes;
  }
  { Lock lock(world); own.arrived = number; }
  std::string wrong = wait_for_all(c, &Rank::arrived, number);
  if (wrong.empty()) wrong = contradiction(world, number);
  if (wrong.empty()) {
    for (int i = 0; i < count; i++) {
      const Operation& o = operations[i];
      const uint64_t bytes = o.count * (uint64_t)size_of(o.type);
      if (o.kind == send) continue;
      for (int r = 0; r < c->size; r++) {
        const Said& theirs = world->ranks[r].said;
        int before = 0, seen = 0;  // the same kind of call, in the order of both sides
        for (int j = 0; j < i; j++)
          before += operations[j].kind == o.kind && (o.kind == all_gather || operations[j].peer == o.peer);
        for (int j = 0; j < theirs.count; j++) {
          const Operation& t = theirs.operations[j];
          const bool match = o.kind == all_gather ? t.kind == all_gather
                                                  : r == o.peer && t.kind == send && t.peer == c->rank;
          if (!match || seen++ != before) continue;
          char* target = (char*)o.target + (o.kind == all_gather ? (uint64_t)r * bytes : 0);
          std::memcpy(target, world->data[r] + theirs.offsets[j], bytes);
        }
      }
    }
  }
  { Lock lock(world); own.departed = number; }
  // Nobody overwrites what it gave, or said, before all have read it.
  const std::string late = wait_for_all(c, &Rank::departed, number);
  if (wrong.empty()) wrong = late;
  if (!wrong.empty()) c->error = remote_error;
  return wrong;
}

int ask(Comm* c, void* stream, const Operation& operation) {
  if (!c || c->state) return invalid_argument;
  if (!size_of(operation.type)) return invalid_argument;
  if (operation.kind != all_gather && (operation.peer < 0 || operation.peer >= c->size))
    return invalid_argument;
  if (depth) {
    group.push_back({c, stream, operation});
    return success;
  }
  return submit(c, stream, &operation, 1);
}

World* open_world(const char* name, bool make) {
  const int file = shm_open(name, make ? O_CREAT | O_EXCL | O_RDWR : O_RDWR, 0600);
  if (file < 0) return nullptr;
  if (make && ftruncate(file, sizeof(World))) return nullptr;
  void* memory = mmap(nullptr, sizeof(World), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  return memory == MAP_FAILED ? nullptr : (World*)memory;
}

}  // namespace

extern "C" {

void emulated_nccl_connect(int (*submitting)(Comm*, void*, const Operation*, int), int (*device)(),
                           int (*graphs)(Comm*)) {
  submit = submitting;
  current_device = device;
  in_graphs = graphs;
}

int emulated_nccl_size(const Comm* c) { return c->size; }
int emulated_nccl_device(const Comm* c) { return c->device; }
int emulated_nccl_item(int type) { return size_of(type); }

int emulated_nccl_run(Comm* c, const Operation* operations, int count, int nodes, char* message,
                      size_t length) {
  const std::string wrong = exchange(c, operations, count, nodes);
  std::snprintf(message, length, "%s", wrong.c_str());
  return wrong.empty() ? success : remote_error;
}

int ncclGetVersion(int* version) {
  *version = 22807;
  return success;
}

const char* ncclGetErrorString(int status) {
  switch (status) {
    case success: return "no error";
    case unhandled_cuda_error: return "unhandled cuda error (emulated)";
    case system_error: return "unhandled system error (emulated)";
    case invalid_argument: return "invalid argument (emulated)";
    case invalid_usage: return "invalid usage (emulated)";
    case remote_error: return "remote process exited or there was a network error (emulated)";
    default: return "internal error (emulated)";
  }
}

int ncclGetUniqueId(Id* id) {
  static std::atomic<int> made;
  std::memset(id, 0, sizeof(Id));
  World* world;
  do {  // an earlier process of the same number may have left a name
    std::snprintf(id->name, sizeof(id->name), "/gpunn-emulated-nccl-%d-%d", (int)getpid(), made++);
    world = open_world(id->name, true);
  } while (!world && errno == EEXIST);
  if (!world) return system_error;
  pthread_mutexattr_t mutex;
  pthread_mutexattr_init(&mutex);
  pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&world->mutex, &mutex);
  pthread_condattr_t changed;
  pthread_condattr_init(&changed);
  pthread_condattr_setpshared(&changed, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&world->changed, &changed);
  world->ready = 1;
  return success;
}

// All ranks come here. Two of them on one device are refused, as NCCL does.
int ncclCommInitRankConfig(Comm** comm, int size, Id id, int rank, void*) {
  if (size < 1 || size > most_ranks || rank < 0 || rank >= size) return invalid_argument;
  World* world = open_world(id.name, false);
  if (!world || !world->ready) return system_error;
  const double end = now() + patience();
  const int device = current_device();
  Lock lock(world);
  Rank& own = world->ranks[rank];
  if (own.there || (world->size && world->size != size)) return invalid_usage;
  world->size = size;
  own.device = device, own.process = getpid(), own.there = 1;
  pthread_cond_broadcast(&world->changed);
  for (;;) {
    int there = 0;
    for (int r = 0; r < size; r++) there += world->ranks[r].there;
    if (there == size) break;
    if (now() > end) return system_error;
    lock.wait(&world->changed);
  }
  shm_unlink(id.name);
  for (int one = 0; one < size; one++)
    for (int two = 0; two < one; two++)
      if (world->ranks[one].device == world->ranks[two].device) {
        std::fprintf(stderr, "emulated NCCL: Duplicate GPU detected: ranks %d and %d on device %d\n",
                     two, one, world->ranks[one].device);
        return invalid_usage;
      }
  *comm = new Comm{world, rank, size, device, 0, {usable}, {success}};
  return success;
}

// Communicators stay in memory: graphs may have calls of one that is gone, which is an error then.
static void say_complete(const Comm* c, const char* what) {
  const char* debug = getenv("NCCL_DEBUG");
  if (debug && !std::strcmp(debug, "INFO"))
    std::fprintf(stderr, "NCCL INFO comm rank %d nranks %d - %s COMPLETE\n", c->rank, c->size, what);
}

int ncclCommDestroy(Comm* c) {
  if (c && in_graphs && in_graphs(c)) {
    std::fprintf(stderr, "emulated NCCL: ncclCommDestroy would wait forever: graphs have calls of "
                 "this communicator; destroy the graphs first\n");
    return invalid_usage;
  }
  if (!c) return success;
  if (c->state) return invalid_argument;
  c->state = destroyed;
  say_complete(c, "Destroy");
  Lock lock(c->world);
  c->world->ranks[c->rank].gone = 1;  // others notice that; not of an abort
  pthread_cond_broadcast(&c->world->changed);
  return success;
}
// What waits for others ends, but the call returns only when no graph has calls of the communicator.
int ncclCommAbort(Comm* c) {
  if (!c) return success;
  if (c->state) return invalid_argument;
  c->state = aborted;
  { Lock lock(c->world); pthread_cond_broadcast(&c->world->changed); }
  if (in_graphs && in_graphs(c))
    std::fprintf(stderr, "emulated NCCL: ncclCommAbort waits: graphs have calls of this "
                 "communicator; destroy the graphs first\n");
  while (in_graphs && in_graphs(c)) usleep(10'000);
  say_complete(c, "Abort");
  return success;
}
// Have ncclCommGetAsyncError tell of an error, as after a failure of the network.
void emulated_nccl_lose(Comm* c) { c->error = remote_error; }
void emulated_nccl_end() { in_graphs = nullptr; }

int ncclCommGetAsyncError(Comm* c, int* error) {
  *error = c->error;
  return success;
}
int ncclCommCount(const Comm* c, int* size) {
  *size = c->size;
  return success;
}
int ncclCommUserRank(const Comm* c, int* rank) {
  *rank = c->rank;
  return success;
}
int ncclCommCuDevice(const Comm* c, int* device) {
  *device = c->device;
  return success;
}

int ncclGroupStart() {
  depth++;
  return success;
}
int ncclGroupEnd() {
  if (!depth) return invalid_usage;
  if (--depth) return success;
  std::vector<Waiting> all;
  all.swap(group);
  while (!all.empty()) {  // those of one communicator and stream go together
    Comm* comm = all[0].comm;
    void* stream = all[0].stream;
    std::vector<Operation> chosen;
    std::vector<Waiting> rest;
    for (const Waiting& each : all) {
      if (each.comm == comm && each.stream == stream) chosen.push_back(each.operation);
      else rest.push_back(each);
    }
    all.swap(rest);
    if (const int status = submit(comm, stream, chosen.data(), (int)chosen.size())) return status;
  }
  return success;
}

int ncclAllGather(const void* from, void* to, size_t count, int type, Comm* c, void* stream) {
  return ask(c, stream, {all_gather, type, 0, 0, count, from, to});
}
int ncclSend(const void* from, size_t count, int type, int peer, Comm* c, void* stream) {
  return ask(c, stream, {send, type, peer, 0, count, from, nullptr});
}
int ncclRecv(void* to, size_t count, int type, int peer, Comm* c, void* stream) {
  return ask(c, stream, {receive, type, peer, 0, count, nullptr, to});
}

}  // extern "C"
