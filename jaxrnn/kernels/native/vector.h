// SIMD vectors of the width that this file is compiled for, and the activations.
//
// Everything here is in the namespace JAXRNN_ISA. Otherwise the linker could keep only the
// AVX-512 version of a function, and a machine without AVX-512 would run it. For the same
// reason the kernels use no templates of the standard library.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

// For the innermost functions. The compiler's own limits on inlining depend on the number of
// cells, and a call in the loop over units costs a tenth of the time of the forward pass.
#define JAXRNN_INLINE __attribute__((always_inline))

namespace jaxrnn::JAXRNN_ISA {

template <class Real>
struct Vectors;

template <>
struct Vectors<float> {
  typedef float V __attribute__((vector_size(JAXRNN_VECTOR_BYTES)));
  typedef int32_t I __attribute__((vector_size(JAXRNN_VECTOR_BYTES)));
};

template <>
struct Vectors<double> {
  typedef double V __attribute__((vector_size(JAXRNN_VECTOR_BYTES)));
  typedef int64_t I __attribute__((vector_size(JAXRNN_VECTOR_BYTES)));
};

template <class Real>
using Vec = typename Vectors<Real>::V;

template <class Real>
constexpr int lanes = JAXRNN_VECTOR_BYTES / sizeof(Real);

template <class Real>
inline Vec<Real> splat(Real value) {
  return value - Vec<Real>{};  // not +, which would turn -0 into 0
}

template <class Real>
inline Vec<Real> load(const Real* from) {
  Vec<Real> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class Real>
inline void store(Real* to, Vec<Real> v) {
  std::memcpy(to, &v, sizeof v);
}

// Loads the first `count` entries; the others are zero.
template <class Real>
inline Vec<Real> load(const Real* from, int64_t count) {
  if (count >= lanes<Real>) return load(from);
  Vec<Real> v{};
  std::memcpy(&v, from, count * sizeof(Real));
  return v;
}

template <class Real>
inline void store(Real* to, Vec<Real> v, int64_t count) {
  if (count >= lanes<Real>) {
    store(to, v);
  } else {
    std::memcpy(to, &v, count * sizeof(Real));
  }
}

template <class V>
inline V select(decltype(V{} < V{}) mask, V yes, V no) {
  return mask ? yes : no;
}

// exp(x) = 2^n exp(r), where x = n log 2 + r. exp(r) is a polynomial, from a Chebyshev fit of
// (exp(r) - 1 - r) / r^2 on |r| <= log(2) / 2. 2^n is applied as two factors, so that large
// results become infinity and small ones denormals, as they should. The error is below 2 ulp.
JAXRNN_INLINE inline Vec<float> exp_of(Vec<float> x) {
  using V = Vec<float>;
  using I = Vectors<float>::I;
  x = select<V>(x > 110.0f, splat(110.0f), x);
  x = select<V>(x < -110.0f, splat(-110.0f), x);
  const V shifted = x * 1.44269504f + 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
  const V n = shifted - 12582912.0f;
  V r = x - n * 0.693359375f;  // log 2 in two parts: n times the first is exact
  r = r - n * -2.12194440e-4f;
  V p = r * 0.0013934545f + 0.00836377684f;
  p = p * r + 0.0416664556f;
  p = p * r + 0.166665733f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  // NaN cannot become an integer, and need not: p is NaN too
  const I k = __builtin_convertvector(select<V>(n == n, n, V{}), I);
  const I half = k >> 1;
  const I bits_a = (half + 127) << 23;
  const I bits_b = (k - half + 127) << 23;
  V a, b;
  std::memcpy(&a, &bits_a, sizeof a);
  std::memcpy(&b, &bits_b, sizeof b);
  return p * a * b;
}

JAXRNN_INLINE inline Vec<float> sigmoid(Vec<float> x) { return 1.0f / (1.0f + exp_of(-x)); }

// tanh(x) = 1 - 2 / (exp(2x) + 1). Near zero the difference would cancel most digits, so an
// odd polynomial is used there.
JAXRNN_INLINE inline Vec<float> tanh_of(Vec<float> x) {
  using V = Vec<float>;
  const V size = select<V>(x < 0.0f, -x, x);
  const V z = x * x;
  V p = z * -0.00608352479f + 0.0209889226f;
  p = p * z + -0.0538494028f;
  p = p * z + 0.133327618f;
  p = p * z + -0.333333284f;
  const V near = p * z * x + x;
  const V far = 1.0f - 2.0f / (exp_of(size + size) + 1.0f);
  return select<V>(size < 0.625f, near, select<V>(x < 0.0f, -far, far));
}

// float64 is for tests of the schedules with tight tolerances: it calls the C library, which is
// accurate but slow.
template <double (*fn)(double)>
inline Vec<double> each_lane(Vec<double> x) {
  for (int i = 0; i < lanes<double>; ++i) x[i] = fn(x[i]);
  return x;
}

inline double libm_exp(double x) { return std::exp(x); }
inline double libm_tanh(double x) { return std::tanh(x); }
inline Vec<double> sigmoid(Vec<double> x) {
  return 1.0 / (1.0 + each_lane<libm_exp>(-x));
}
inline Vec<double> tanh_of(Vec<double> x) { return each_lane<libm_tanh>(x); }

template <class V>
inline V relu(V x) {
  return select<V>(x <= 0, V{}, x);  // NaN <= 0 is false, so NaN is kept
}

}  // namespace jaxrnn::JAXRNN_ISA
