// The point-wise part of each cell: all that a further cell needs.
//
// A cell says how many gates it has, which of them a product with W or U adds to, what it
// saves for the way back, and two functions of one vector of units: `forward` from the sums
// of the gates to the new state, `backward` from the gradient of the new state to those of
// the sums. `direct` is what the old state receives beside the products with U.
#pragma once

#include "vector.h"

namespace jaxrnn::JAXRNN_ISA {

// Coupled gates: sigmoid(f) = 1 - sigmoid(i), and three gates are left.
template <bool kCoupled>
struct LstmCell {
  static constexpr int gates = kCoupled ? 3 : 4, w_gates = gates, u_gates = gates;
  static constexpr int saved = gates;
  static constexpr int u_to[4] = {0, 1, 2, 3};
  static constexpr bool has_c = true, has_product = true, two_stages = false;
  static constexpr bool needs_h = false, needs_new = false;

  template <class V>
  static void forward(const V* z, V, V c, V, V& h_new, V& c_new, V* s) {
    const V i = sigmoid(z[0]), g = tanh_of(z[gates - 2]), o = sigmoid(z[gates - 1]);
    const V f = kCoupled ? sigmoid(-z[0]) : sigmoid(z[1]);
    c_new = f * c + i * g;
    h_new = o * tanh_of(c_new);
    s[0] = i;
    if (!kCoupled) s[1] = f;
    s[gates - 2] = g;
    s[gates - 1] = o;
  }

  template <class V>
  static void backward(V dh, V& dc, const V* s, V, V, V c, V c_new, V, V* dz, V& direct) {
    const V i = s[0], f = kCoupled ? 1 - i : s[1], g = s[gates - 2], o = s[gates - 1];
    const V y = tanh_of(c_new);
    dc = dc + dh * o * (1 - y * y);
    const V di = dc * g, df = dc * c, slope = i * (1 - i);
    dz[0] = kCoupled ? (di - df) * slope : di * slope;
    if (!kCoupled) dz[1] = df * f * (1 - f);
    dz[gates - 2] = dc * i * (1 - g * g);
    dz[gates - 1] = dh * y * o * (1 - o);
    dc = dc * f;
    direct = V{};
  }
};

// Gate 3 holds U_n h + b_n, which the reset gate multiplies.
struct GruAfter {
  static constexpr int gates = 4, w_gates = 3, u_gates = 3, saved = 4;
  static constexpr int u_to[4] = {0, 1, 3, 0};
  static constexpr bool has_c = false, has_product = true, two_stages = false;
  static constexpr bool needs_h = true, needs_new = false;

  template <class V>
  static void forward(const V* z, V h, V, V, V& h_new, V&, V* s) {
    const V r = sigmoid(z[0]), keep = sigmoid(z[1]), n = tanh_of(z[2] + r * z[3]);
    h_new = (1 - keep) * n + keep * h;
    s[0] = r;
    s[1] = keep;
    s[2] = n;
    s[3] = z[3];
  }

  template <class V>
  static void backward(V dh, V&, const V* s, V h, V, V, V, V, V* dz, V& direct) {
    const V r = s[0], keep = s[1], n = s[2];
    dz[2] = dh * (1 - keep) * (1 - n * n);
    dz[0] = dz[2] * s[3] * r * (1 - r);
    dz[1] = dh * (h - n) * keep * (1 - keep);
    dz[3] = dz[2] * r;
    direct = dh * keep;
  }
};

// Two products a step: U_n is applied to r h. `first` makes r h, `forward` the rest;
// `backward` leaves gate 0 to `last`, which is given the gradient of r h.
struct GruBefore {
  static constexpr int gates = 3, w_gates = 3, u_gates = 3, saved = 3;
  static constexpr int u_to[4] = {0, 1, 2, 0};
  static constexpr bool has_c = false, has_product = true, two_stages = true;
  static constexpr bool needs_h = true, needs_new = false;

  template <class V>
  static void first(V& z_r, V h, V& rh) {
    z_r = sigmoid(z_r);
    rh = z_r * h;
  }

  template <class V>
  static void forward(const V* z, V h, V, V, V& h_new, V&, V* s) {
    const V keep = sigmoid(z[1]), n = tanh_of(z[2]);
    h_new = (1 - keep) * n + keep * h;
    s[0] = z[0];
    s[1] = keep;
    s[2] = n;
  }

  template <class V>
  static void backward(V dh, V&, const V* s, V h, V, V, V, V, V* dz, V& direct) {
    const V keep = s[1], n = s[2];
    dz[0] = V{};
    dz[1] = dh * (h - n) * keep * (1 - keep);
    dz[2] = dh * (1 - keep) * (1 - n * n);
    direct = dh * keep;
  }

  template <class V>
  static void last(V d_rh, V r, V h, V& dz_r, V& direct) {
    dz_r = d_rh * h * r * (1 - r);
    direct = direct + d_rh * r;
  }
};

struct Tanh {
  template <class V>
  static V value(V z) {
    return tanh_of(z);
  }
  template <class V>
  static V back(V dy, V y) {
    return dy * (1 - y * y);
  }
};

struct Relu {
  template <class V>
  static V value(V z) {
    return relu(z);
  }
  template <class V>
  static V back(V dy, V y) {
    return select<V>(y > 0, dy, V{});
  }
};

// One gate: Elman with a product, IndRNN where each unit sees itself alone through u.
template <class Activation, bool kProduct>
struct Simple {
  static constexpr int gates = 1, w_gates = 1, u_gates = 1, saved = 0;
  static constexpr int u_to[4] = {0, 0, 0, 0};
  static constexpr bool has_c = false, has_product = kProduct, two_stages = false;
  static constexpr bool needs_h = !kProduct, needs_new = true;

  template <class V>
  static void forward(const V* z, V h, V, V u, V& h_new, V&, V*) {
    h_new = Activation::value(kProduct ? z[0] : z[0] + u * h);
  }

  template <class V>
  static void backward(V dh, V&, const V*, V, V h_new, V, V, V u, V* dz, V& direct) {
    dz[0] = Activation::back(dh, h_new);
    direct = kProduct ? V{} : u * dz[0];
  }
};

}  // namespace jaxrnn::JAXRNN_ISA
