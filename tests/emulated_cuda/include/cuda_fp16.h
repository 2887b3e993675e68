// half: stored as IEEE binary16, computed in float, rounded to nearest even.
#pragma once
struct __half_raw {
  unsigned short x;
};
struct __half {
  unsigned short bits_;
  __half() = default;
  __half(float v) : bits_(emulated::bits<unsigned short>((_Float16)v)) {}
  __half(double v) : bits_(emulated::bits<unsigned short>((_Float16)v)) {}
  __half(const __half_raw& v) : bits_(v.x) {}
  template <class T, class = std::enable_if_t<std::is_integral_v<T>>>
  explicit __half(T v) : __half((double)v) {}
  operator float() const { return (float)emulated::bits<_Float16>(bits_); }
  operator __half_raw() const { return {bits_}; }
};
typedef __half half;
static inline __half __float2half_rn(float v) { return v; }
static inline float __half2float(__half v) { return v; }
static inline unsigned short __half_as_ushort(__half v) { return v.bits_; }
static inline __half __ushort_as_half(unsigned short v) { return __half(__half_raw{v}); }
static inline bool __hisnan(__half v) { return (v.bits_ & 0x7fff) > 0x7c00; }
static inline int __hisinf(__half v) { return (v.bits_ & 0x7fff) == 0x7c00; }
