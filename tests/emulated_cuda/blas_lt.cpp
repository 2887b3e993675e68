// The C interface of cuBLASLt, as far as products with epilogues need it. It keeps what the
// descriptors keep; every product becomes one Matmul, which Python checks and computes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>

namespace {

enum Status {
  success = 0,
  not_initialized = 1,
  invalid_value = 7,
  execution_failed = 13,
  not_supported = 15
};
enum Epilogue { plain = 1, relu = 2, bias = 4, relu_bias = 6, sums_of_a = 256, sums_of_b = 512 };
constexpr int real_32 = 0;
constexpr uint64_t our_algorithm = 0x6c74;
constexpr size_t workspace_bytes = 1024;  // what every algorithm here needs
constexpr int algorithms = 8;             // for each problem
constexpr int invalid_algorithm = 2;      // the heuristic's result is marked as invalid
constexpr int in_place_algorithm = 1;     // unless reductions in place are excluded
constexpr uint32_t in_place = 1;
constexpr size_t version = 130000;

struct Handle {
  int device;
};
struct Operation {
  int compute, scale, transpose_a, transpose_b;
  uint32_t epilogue;
  void* vector;
};
struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leading;
};
struct Preference {
  uint64_t workspace;
  uint32_t reductions;
  uint32_t alignment[4];
};
struct Algorithm {  // the 64 bytes of a cublasLtMatmulAlgo_t
  uint64_t magic, m, n, k;
  uint32_t epilogue, transpositions;
  uint16_t alignment[5];  // of A, B, C, D and the vector
  uint16_t number, in_place, unused;
  uint64_t rest;
};
static_assert(sizeof(Algorithm) == 64);
struct Result {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Result) == 96);

struct Matmul {  // D = alpha op(A) op(B) + beta C, column-major, and the epilogue
  int device, transpose_a, transpose_b, compute;
  uint32_t epilogue;
  uint16_t algorithm, in_place;
  uint64_t m, n, k;
  const void *alpha, *beta, *a, *b, *c;
  void* d;
  int64_t lda, ldb, ldc, ldd;
  void *vector, *workspace;
  size_t workspace_bytes;
  void* stream;
};

uint64_t refusals;  // the seed, or 0 where nothing is refused

int (*compute_matmul)(const Matmul*);
int (*current_device)();

bool known_compute(int compute) {
  return compute == 68 || compute == 69 || compute == 74 || compute == 75 || compute == 77;
}

bool known_epilogue(uint32_t epilogue) {
  return epilogue == plain || epilogue == relu || epilogue == bias || epilogue == relu_bias ||
         epilogue == sums_of_a || epilogue == sums_of_b;
}

uint16_t alignment_of(const void* pointer) {
  const uint64_t address = (uint64_t)pointer, lowest = address & -address;
  return address == 0 || lowest > 256 ? 256 : (uint16_t)lowest;
}

// The problem's sizes; false if the layouts contradict each other
bool sizes(const Operation* o, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
           uint64_t* m, uint64_t* n, uint64_t* k) {
  *m = d->rows;
  *n = d->columns;
  *k = o->transpose_a ? a->rows : a->columns;
  return (o->transpose_a ? a->columns : a->rows) == *m &&
         (o->transpose_b ? b->rows : b->columns) == *n &&
         (o->transpose_b ? b->columns : b->rows) == *k && c->rows == *m && c->columns == *n;
}

// What cuBLASLt 13 says of a problem, whatever the algorithm
int judge(const Operation* o, const Layout* c, const Layout* d) {
  if (c->type != d->type || c->leading != d->leading) return invalid_value;
  if (o->epilogue == sums_of_a && o->transpose_a) return not_supported;
  return success;
}

// About every second shape, for each epilogue another one
bool refused(const Algorithm& problem) {
  if (!refusals) return false;
  uint64_t hash = refusals;
  for (uint64_t part : {problem.m, problem.n, problem.k, (uint64_t)problem.epilogue,
                        (uint64_t)problem.transpositions}) {
    hash = (hash ^ part) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  }
  return hash & 1;
}

uint32_t transpositions(const Operation* o) { return o->transpose_a << 1 | o->transpose_b; }

// Whether an algorithm is one of ours, for the very problem
bool fits(const Algorithm* algorithm, const Operation* o, const Layout* a, const Layout* b,
          const Layout* c, const Layout* d) {
  uint64_t m, n, k;
  return algorithm && algorithm->magic == our_algorithm && algorithm->number < algorithms &&
         sizes(o, a, b, c, d, &m, &n, &k) && algorithm->m == m && algorithm->n == n &&
         algorithm->k == k && algorithm->epilogue == o->epilogue &&
         algorithm->transpositions == transpositions(o);
}

template <typename T>
int set(T* place, const void* value, size_t size) {
  if (!value || size != sizeof(T)) return invalid_value;
  std::memcpy(place, value, size);
  return success;
}

}  // namespace

extern "C" {

void emulated_cublaslt_connect(int (*matmul)(const Matmul*), int (*device)()) {
  compute_matmul = matmul;
  current_device = device;
}

void emulated_cublaslt_refuse(uint64_t seed) { refusals = seed; }

size_t cublasLtGetVersion() { return version; }

int cublasLtCreate(Handle** handle) {
  *handle = new Handle{current_device()};
  return success;
}
int cublasLtDestroy(Handle* handle) {
  delete handle;
  return success;
}

int cublasLtMatmulDescCreate(Operation** o, int compute, int scale) {
  *o = new Operation{compute, scale, 0, 0, plain, nullptr};
  return success;
}
int cublasLtMatmulDescDestroy(Operation* o) {
  delete o;
  return success;
}
int cublasLtMatmulDescSetAttribute(Operation* o, int attribute, const void* value, size_t size) {
  switch (attribute) {
    case 3: return set(&o->transpose_a, value, size);
    case 4: return set(&o->transpose_b, value, size);
    case 7: return set(&o->epilogue, value, size);
    case 8: return set(&o->vector, value, size);
    default: return invalid_value;
  }
}

int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns,
                               int64_t leading) {
  *layout = new Layout{type, rows, columns, leading};
  return success;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return success;
}

int cublasLtMatmulPreferenceCreate(Preference** p) {
  *p = new Preference{0, 7, {256, 256, 256, 256}};
  return success;
}
int cublasLtMatmulPreferenceDestroy(Preference* p) {
  delete p;
  return success;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value,
                                         size_t size) {
  if (attribute == 1) return set(&p->workspace, value, size);
  if (attribute == 3) return set(&p->reductions, value, size);
  if (attribute >= 5 && attribute <= 8) return set(&p->alignment[attribute - 5], value, size);
  return invalid_value;
}

int cublasLtMatmulAlgoGetHeuristic(Handle* h, Operation* o, Layout* a, Layout* b, Layout* c,
                                   Layout* d, Preference* p, int wanted, Result* results,
                                   int* found) {
  *found = 0;
  if (!h) return not_initialized;
  if (wanted < 1) return invalid_value;
  Algorithm algorithm{our_algorithm};
  if (!sizes(o, a, b, c, d, &algorithm.m, &algorithm.n, &algorithm.k)) return invalid_value;
  if (int status = judge(o, c, d)) return status;
  for (const Layout* layout : {a, b, c, d})
    if (layout->type != real_32) return not_supported;
  if (!known_compute(o->compute) || o->scale != real_32) return not_supported;
  if (!known_epilogue(o->epilogue) || p->workspace < workspace_bytes) return not_supported;
  algorithm.epilogue = o->epilogue;
  algorithm.transpositions = transpositions(o);
  if (refused(algorithm)) return not_supported;
  // As strict as cuBLASLt may be: it relies on every alignment that it was told of.
  for (int i = 0; i < 4; i++) algorithm.alignment[i] = (uint16_t)p->alignment[i];
  algorithm.alignment[4] = alignment_of(o->vector);
  for (; *found < wanted && *found < algorithms; ++*found) {
    algorithm.number = (uint16_t)*found;
    algorithm.in_place = *found == in_place_algorithm && p->reductions & in_place;
    results[*found] = {algorithm, workspace_bytes, success, 1.0f, {}};
    if (*found == invalid_algorithm) results[*found].state = not_supported;
  }
  return success;
}

int cublasLtMatmulAlgoCheck(Handle* h, Operation* o, Layout* a, Layout* b, Layout* c, Layout* d,
                            const Algorithm* algorithm, Result* result) {
  if (!h) return not_initialized;
  if (int status = judge(o, c, d)) return status;
  if (!fits(algorithm, o, a, b, c, d)) return invalid_value;
  if (algorithm->number == invalid_algorithm) return not_supported;
  result->workspace = workspace_bytes;
  result->state = success;
  result->waves = 1.0f;
  return success;
}

int cublasLtMatmul(Handle* h, Operation* o, const void* alpha, const void* a, Layout* la,
                   const void* b, Layout* lb, const void* beta, const void* c, Layout* lc, void* d,
                   Layout* ld, const Algorithm* algorithm, void* workspace, size_t size,
                   void* stream) {
  if (!h) return not_initialized;
  if (int status = judge(o, lc, ld)) return status;
  if (!fits(algorithm, o, la, lb, lc, ld)) return invalid_value;
  if (algorithm->number == invalid_algorithm) return execution_failed;
  const void* pointers[] = {a, b, c, d, o->vector};
  for (int i = 0; i < 5; i++)
    if ((uint64_t)pointers[i] % algorithm->alignment[i]) return invalid_value;
  if (size < workspace_bytes || (uint64_t)workspace % 16) return invalid_value;
  const Matmul matmul{h->device, o->transpose_a, o->transpose_b, o->compute, o->epilogue,
                      algorithm->number, algorithm->in_place, algorithm->m, algorithm->n,
                      algorithm->k, alpha, beta, a, b, c, d, la->leading, lb->leading, lc->leading,
                      ld->leading, o->vector, workspace, workspace_bytes, stream};
  return compute_matmul(&matmul);
}

}  // extern "C"
