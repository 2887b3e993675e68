// thrust::complex, as far as CuPy's common kernels name it. CuPy's own header would draw in all of
// libcudacxx, for every kernel; the transcendental functions of complex numbers are left out.
#pragma once
namespace thrust {
template <class T>
struct complex {
  T real_, imag_;
  complex(T re = T(), T im = T()) : real_(re), imag_(im) {}
  template <class U>
  complex(const complex<U>& z) : real_((T)z.real_), imag_((T)z.imag_) {}
  T real() const { return real_; }
  T imag() const { return imag_; }
  void real(T v) { real_ = v; }
  void imag(T v) { imag_ = v; }
  complex operator-() const { return {-real_, -imag_}; }
  complex& operator+=(complex z) { return *this = *this + z; }
  complex& operator-=(complex z) { return *this = *this - z; }
  complex& operator*=(complex z) { return *this = *this * z; }
  friend complex operator+(complex a, complex b) { return {a.real_ + b.real_, a.imag_ + b.imag_}; }
  friend complex operator-(complex a, complex b) { return {a.real_ - b.real_, a.imag_ - b.imag_}; }
  friend complex operator*(complex a, complex b) {
    return {a.real_ * b.real_ - a.imag_ * b.imag_, a.real_ * b.imag_ + a.imag_ * b.real_};
  }
  friend complex operator/(complex a, complex b) {
    const T d = b.real_ * b.real_ + b.imag_ * b.imag_;
    return {(a.real_ * b.real_ + a.imag_ * b.imag_) / d, (a.imag_ * b.real_ - a.real_ * b.imag_) / d};
  }
  friend bool operator==(complex a, complex b) { return a.real_ == b.real_ && a.imag_ == b.imag_; }
  friend bool operator!=(complex a, complex b) { return !(a == b); }
  friend T norm(complex z) { return z.real_ * z.real_ + z.imag_ * z.imag_; }
  friend T abs(complex z) { return hypot(z.real_, z.imag_); }
  friend complex conj(complex z) { return {z.real_, -z.imag_}; }
  friend bool isnan(complex z) { return isnan(z.real_) || isnan(z.imag_); }
  friend bool isinf(complex z) { return isinf(z.real_) || isinf(z.imag_); }
};
}  // namespace thrust
using thrust::complex;
