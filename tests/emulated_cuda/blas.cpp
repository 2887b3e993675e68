// The C interface of cuBLAS, as far as CuPy and a ctypes caller need it. Handles keep what cuBLAS
// handles keep; every product becomes one Gemm, which Python checks and computes.
#include <cstddef>
#include <cstdint>

namespace {

enum Status { success = 0, not_initialized = 1, invalid_value = 7 };

struct Handle {
  int device;
  int pointer_mode;  // 0: alpha and beta are in host memory; 1: on the device
  void* stream;
  int serial;  // of the stream: another one may get its address
  void* workspace;
  size_t workspace_bytes;
};

struct Gemm {  // C = alpha op(A) op(B) + beta C, column-major
  const Handle* handle;
  const char* name;
  int transpose_a, transpose_b, m, n, k;
  const void *alpha, *beta;  // null: one, nought
  const void* a;
  int type_a, lda;
  const void* b;
  int type_b, ldb;
  void* c;
  int type_c, ldc;
  int compute, count;
  long long stride_a, stride_b, stride_c;
};

int (*compute_gemm)(const Gemm*);
int (*current_device)();
int (*serial_of)(void* stream);
int (*synchronize)(int device);

int run(Gemm gemm) { return gemm.handle ? compute_gemm(&gemm) : not_initialized; }

}  // namespace

extern "C" {

void emulated_cublas_connect(int (*gemm)(const Gemm*), int (*device)(), int (*serial)(void*),
                             int (*wait)(int)) {
  compute_gemm = gemm;
  current_device = device;
  serial_of = serial;
  synchronize = wait;
}
// When the interpreter ends, which cannot answer then: CuPy destroys its handles even later.
void emulated_cublas_end() { synchronize = nullptr; }

int cublasCreate_v2(Handle** h) {
  *h = new Handle{current_device(), 0, nullptr, serial_of(nullptr), nullptr, 0};
  return success;
}
int cublasDestroy_v2(Handle* h) {
  if (!h) return not_initialized;
  const int status = synchronize ? synchronize(h->device) : success;
  delete h;
  return status;
}
int cublasGetVersion_v2(Handle*, int* version) {
  *version = 130000;
  return success;
}
int cublasSetStream_v2(Handle* h, void* stream) {
  if (!h) return not_initialized;
  h->stream = stream;
  h->serial = serial_of(stream);
  h->workspace = nullptr, h->workspace_bytes = 0;  // cuBLAS goes back to its own workspace
  return success;
}
int cublasGetStream_v2(Handle* h, void** stream) {
  *stream = h->stream;
  return success;
}
int cublasSetWorkspace_v2(Handle* h, void* workspace, size_t bytes) {
  if (!h) return not_initialized;
  if (workspace && (uintptr_t)workspace % 256) return invalid_value;
  h->workspace = bytes ? workspace : nullptr, h->workspace_bytes = bytes;
  return success;
}
int cublasSetPointerMode_v2(Handle* h, int mode) {
  h->pointer_mode = mode;
  return success;
}
int cublasGetPointerMode_v2(Handle* h, int* mode) {
  *mode = h->pointer_mode;
  return success;
}
// CuPy sets it back and forth, and asks for what it may compute in by each call.
int cublasSetMathMode(Handle*, int) { return success; }
int cublasGetMathMode(Handle*, int* mode) {
  *mode = 0;
  return success;
}

int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                 int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c,
                 int type_c, int ldc, int compute, int) {
  return run({h, "cublasGemmEx", ta, tb, m, n, k, alpha, beta, a, type_a, lda, b, type_b, ldb, c,
              type_c, ldc, compute, 1, 0, 0, 0});
}
int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha,
                               const void* a, int type_a, int lda, long long stride_a,
                               const void* b, int type_b, int ldb, long long stride_b,
                               const void* beta, void* c, int type_c, int ldc, long long stride_c,
                               int count, int compute, int) {
  return run({h, "cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, beta, a, type_a, lda, b,
              type_b, ldb, c, type_c, ldc, compute, count, stride_a, stride_b, stride_c});
}

}  // extern "C"
