// The C interface of cuBLAS, as far as CuPy and a ctypes caller need it. Handles keep what cuBLAS
// handles keep; every product becomes one Gemm, which Python checks and computes.
#include <cstddef>
#include <cstdint>

namespace {

enum Status { success = 0, not_initialized = 1, invalid_value = 7, not_supported = 15 };
enum Type { real_32 = 0, real_64 = 1, real_16 = 2 };
enum Compute { compute_32 = 68, compute_32_pedantic = 69, compute_64 = 70 };
enum Operation { none = 0, transpose = 1 };

struct Handle {
  int device;
  int pointer_mode;  // 0: alpha, beta and dot results are in host memory; 1: on the device
  int math_mode;     // bit 0 and 1: 3 is CUBLAS_TF32_TENSOR_OP_MATH
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
  int compute, count, scalar_result;
  long long stride_a, stride_b, stride_c;
};

int (*compute_gemm)(const Gemm*);
int (*current_device)();
int (*serial_of)(void* stream);
int (*synchronize)(int device);

int run(Gemm gemm) { return gemm.handle ? compute_gemm(&gemm) : not_initialized; }

// op(A) of one matrix as seen by a product with vectors that may have gaps
Gemm product(Handle* h, const char* name, int type, int ta, int tb, int m, int n, int k,
             const void* alpha, const void* a, int lda, const void* b, int ldb, const void* beta,
             void* c, int ldc) {
  const int compute = type == real_64 ? compute_64 : compute_32;
  return {h, name, ta,  tb, m,    n,   k,       alpha, beta, a, type, lda,
          b, type, ldb, c,  type, ldc, compute, 1,     0,    0, 0,    0};
}

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
  *h = new Handle{current_device(), 0, 0, nullptr, serial_of(nullptr), nullptr, 0};
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
int cublasSetMathMode(Handle* h, int mode) {
  h->math_mode = mode;
  return success;
}
int cublasGetMathMode(Handle* h, int* mode) {
  *mode = h->math_mode;
  return success;
}

int cublasGemmEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a,
                 int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c,
                 int type_c, int ldc, int compute, int) {
  return run({h, "cublasGemmEx", ta, tb, m, n, k, alpha, beta, a, type_a, lda, b, type_b, ldb, c,
              type_c, ldc, compute, 1, 0, 0, 0, 0});
}
int cublasGemmStridedBatchedEx(Handle* h, int ta, int tb, int m, int n, int k, const void* alpha,
                               const void* a, int type_a, int lda, long long stride_a,
                               const void* b, int type_b, int ldb, long long stride_b,
                               const void* beta, void* c, int type_c, int ldc, long long stride_c,
                               int count, int compute, int) {
  return run({h, "cublasGemmStridedBatchedEx", ta, tb, m, n, k, alpha, beta, a, type_a, lda, b,
              type_b, ldb, c, type_c, ldc, compute, count, 0, stride_a, stride_b, stride_c});
}
int cublasSgemmEx(Handle* h, int ta, int tb, int m, int n, int k, const float* alpha, const void* a,
                  int type_a, int lda, const void* b, int type_b, int ldb, const float* beta,
                  void* c, int type_c, int ldc) {
  return run({h, "cublasSgemmEx", ta, tb, m, n, k, alpha, beta, a, type_a, lda, b, type_b, ldb, c,
              type_c, ldc, compute_32, 1, 0, 0, 0, 0});
}

#define EMULATED_TYPED(S, T, type)                                                                \
  int cublas##S##gemm_v2(Handle* h, int ta, int tb, int m, int n, int k, const T* alpha,          \
                         const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) { \
    return run(product(h, "cublas" #S "gemm", type, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, \
                       c, ldc));                                                                  \
  }                                                                                               \
  int cublas##S##gemmStridedBatched(Handle* h, int ta, int tb, int m, int n, int k,               \
                                    const T* alpha, const T* a, int lda, long long sa, const T* b, \
                                    int ldb, long long sb, const T* beta, T* c, int ldc,          \
                                    long long sc, int count) {                                    \
    Gemm g = product(h, "cublas" #S "gemmStridedBatched", type, ta, tb, m, n, k, alpha, a, lda, b, \
                     ldb, beta, c, ldc);                                                          \
    g.count = count;                                                                              \
    g.stride_a = sa;                                                                              \
    g.stride_b = sb;                                                                              \
    g.stride_c = sc;                                                                              \
    return run(g);                                                                                \
  }                                                                                               \
  int cublas##S##gemv_v2(Handle* h, int ta, int rows, int columns, const T* alpha, const T* a,    \
                         int lda, const T* x, int incx, const T* beta, T* y, int incy) {          \
    if (incx < 1 || incy != 1) return not_supported;                                              \
    const int m = ta ? columns : rows, k = ta ? rows : columns;                                   \
    return run(product(h, "cublas" #S "gemv", type, ta, transpose, m, 1, k, alpha, a, lda, x,     \
                       incx, beta, y, m));                                                        \
  }                                                                                               \
  int cublas##S##dot_v2(Handle* h, int n, const T* x, int incx, const T* y, int incy, T* result) { \
    if (incx < 1 || incy < 1) return not_supported;                                               \
    Gemm g = product(h, "cublas" #S "dot", type, none, transpose, 1, 1, n, nullptr, x, incx, y,   \
                     incy, nullptr, result, 1);                                                   \
    g.scalar_result = 1;                                                                          \
    return run(g);                                                                                \
  }
EMULATED_TYPED(S, float, real_32)
EMULATED_TYPED(D, double, real_64)

}  // extern "C"
