// __nv_bfloat16: the upper half of a float, computed in float, rounded to nearest even.
#pragma once
struct __nv_bfloat16_raw {
  unsigned short x;
};
struct __nv_bfloat16 {
  unsigned short bits_;
  static unsigned short rounded(float v) {
    unsigned u = emulated::bits<unsigned>(v);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;  // NaN
    return (unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  __nv_bfloat16() = default;
  __nv_bfloat16(float v) : bits_(rounded(v)) {}
  __nv_bfloat16(double v) : bits_(rounded((float)v)) {}
  __nv_bfloat16(const __nv_bfloat16_raw& v) : bits_(v.x) {}
  operator float() const { return emulated::bits<float>((unsigned)bits_ << 16); }
};
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 v) { return v.bits_; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short v) {
  return __nv_bfloat16(__nv_bfloat16_raw{v});
}
static inline bool __hisnan(__nv_bfloat16 v) { return (v.bits_ & 0x7fff) > 0x7f80; }
static inline int __hisinf(__nv_bfloat16 v) { return (v.bits_ & 0x7fff) == 0x7f80; }
