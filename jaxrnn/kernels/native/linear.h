// The diagonal linear recurrence, h_t = a_t h_{t-1} + b_t, forward and backward. Elements are
// independent, so each thread takes some of them through all time steps.
#pragma once

#include "schedule.h"

namespace jaxrnn::JAXRNN_ISA {

// The number of vectors that stay in registers through all time steps.
constexpr int64_t kChunk = 4;

template <class Real, class Fn>
void each_chunk(int64_t width, Team& team, Fn&& fn) {
  const int64_t chunk = kChunk * lanes<Real>;
  const int64_t chunks = (width + chunk - 1) / chunk;
  const int shares = static_cast<int>(chunks < team.size ? chunks : team.size);
  run(team, shares, [&](int share) {
    const Range r = part(chunks, shares, share);
    for (int64_t i = r.from; i < r.to; ++i) {
      const int64_t left = width - i * chunk;
      fn(i * chunk, left < chunk ? left : chunk);
    }
  });
}

// Returns x, or zero where the decay `a` is -0. With `cuts`, a decay of -0 marks a reset, and
// the caller makes sure that no other decay is -0. A select, since zero times NaN is NaN.
template <class Real, bool cuts>
inline Vec<Real> uncut(Vec<Real> a, Vec<Real> x) {
  if constexpr (cuts) {
    const Vec<Real> mark = splat(Real(-0.0));
    typename Vectors<Real>::I bits, cut;
    std::memcpy(&bits, &a, sizeof bits);
    std::memcpy(&cut, &mark, sizeof cut);
    return select<Vec<Real>>(bits == cut, Vec<Real>{}, x);
  }
  return x;
}

template <class Real, bool cuts>
void linear_with(const Linear& f, Team& team) {
  const Real *a = static_cast<const Real*>(f.a), *b = static_cast<const Real*>(f.b);
  const Real* h0 = static_cast<const Real*>(f.h0);
  Real* hs = static_cast<Real*>(f.hs);
  each_chunk<Real>(f.width, team, [&](int64_t from, int64_t count) {
    constexpr int64_t L = lanes<Real>;
    Vec<Real> h[kChunk];
    for (int64_t i = 0; i * L < count; ++i) h[i] = load(h0 + from + i * L, count - i * L);
    for (int64_t t = 0; t < f.time; ++t)
      for (int64_t i = 0; i * L < count; ++i) {
        const int64_t k = t * f.width + from + i * L, left = count - i * L;
        const Vec<Real> decay = load(a + k, left);
        h[i] = decay * uncut<Real, cuts>(decay, h[i]) + load(b + k, left);
        store(hs + k, h[i], left);
      }
  });
}

// d_h_{t-1} = a_t d_h_t, d_b_t = d_h_t, d_a_t = d_h_t h_{t-1}.
template <class Real, bool cuts>
void linear_backward_with(const LinearBackward& f, Team& team) {
  const Real *a = static_cast<const Real*>(f.a), *hs = static_cast<const Real*>(f.hs);
  const Real *h0 = static_cast<const Real*>(f.h0);
  const Real* d_hs = static_cast<const Real*>(f.d_hs);
  Real *d_a = static_cast<Real*>(f.d_a), *d_b = static_cast<Real*>(f.d_b);
  Real* d_h0 = static_cast<Real*>(f.d_h0);
  each_chunk<Real>(f.width, team, [&](int64_t from, int64_t count) {
    constexpr int64_t L = lanes<Real>;
    Vec<Real> d_h[kChunk] = {};
    for (int64_t t = f.time - 1; t >= 0; --t)
      for (int64_t i = 0; i * L < count; ++i) {
        const int64_t k = t * f.width + from + i * L, left = count - i * L;
        const Real* before = t ? hs + k - f.width : h0 + from + i * L;
        d_h[i] = d_h[i] + load(d_hs + k, left);
        store(d_b + k, d_h[i], left);
        const Vec<Real> decay = load(a + k, left);
        store(d_a + k, d_h[i] * uncut<Real, cuts>(decay, load(before, left)), left);
        d_h[i] = uncut<Real, cuts>(decay, d_h[i] * decay);
      }
    for (int64_t i = 0; i * L < count; ++i)
      store(d_h0 + from + i * L, d_h[i], count - i * L);
  });
}

template <class Real>
void linear(const Linear& f, Team& team) {
  f.cuts ? linear_with<Real, true>(f, team) : linear_with<Real, false>(f, team);
}

template <class Real>
void linear_backward(const LinearBackward& f, Team& team) {
  f.cuts ? linear_backward_with<Real, true>(f, team)
         : linear_backward_with<Real, false>(f, team);
}

}  // namespace jaxrnn::JAXRNN_ISA
