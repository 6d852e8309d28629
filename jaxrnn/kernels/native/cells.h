// The element-wise part of each cell, and the list of cells; see "A new kernel" in
// CONTRIBUTING.md.
//
// A cell is a struct of constants, which `Defaults` explains, and of functions, which work on
// one vector of units of one sequence at one time step. `forward` computes the new state from
// the pre-activations z = x W + h U + b, which names in the code call sums. `backward` computes
// the gradients of the pre-activations from the gradient of the new state; `direct` is the part
// of the gradient of h that does not pass through U.
#pragma once

#include "vector.h"

namespace jaxrnn::JAXRNN_ISA {

// Each cell defines `gates`, the number of gates in W, U and b, and overrides the constants
// that differ.
struct Defaults {
  static constexpr int states = 1;   // 1: h; 2: h and c
  static constexpr int saved = 0;    // residuals of each unit and time step
  static constexpr int vectors = 0;  // parameters with one number for each unit
  // For this many of the last gates, h U is not added to x W + b, but kept at the end of z.
  static constexpr int own_sums = 0;
  static constexpr bool has_u = true;
  // The last gate multiplies U by gate 0 times h, not by h. `first` computes gate 0 and this
  // product, `saved[0]` must be gate 0, and `last` adds the gradients through the product.
  static constexpr bool two_stages = false;
};

constexpr int at_least_one(int count) { return count > 0 ? count : 1; }

template <class Cell>
constexpr int sums_of = Cell::gates + Cell::own_sums;

// The index in z to which h U of a gate is added.
template <class Cell>
constexpr int u_sum(int gate) {
  return gate < Cell::gates - Cell::own_sums ? gate : gate + Cell::own_sums;
}

// The arguments and results of `forward`.
template <class V, class Cell>
struct Step {
  V h, c{};  // before the step
  V z[sums_of<Cell>], v[at_least_one(Cell::vectors)];

  V h_new, c_new{};
  V saved[at_least_one(Cell::saved)];
};

// The arguments and results of `backward`.
template <class V, class Cell>
struct StepBack {
  V h, c{}, h_new, c_new{}, v[at_least_one(Cell::vectors)];
  V saved[at_least_one(Cell::saved)];
  V dh;    // gradient of the new h
  V dc{};  // gradient of the new c; `backward` replaces it by the gradient of the old c

  V direct{}, dz[sums_of<Cell>] = {}, dv[at_least_one(Cell::vectors)] = {};
};

// With coupled gates, sigmoid(f) = 1 - sigmoid(i) = sigmoid(-i), and three gates are left.
template <bool kCoupled>
struct Lstm : Defaults {
  static constexpr int gates = kCoupled ? 3 : 4, states = 2, saved = gates;

  template <class S>
  static void forward(S& s) {
    const auto i = sigmoid(s.z[0]), g = tanh_of(s.z[gates - 2]), o = sigmoid(s.z[gates - 1]);
    const auto f = kCoupled ? sigmoid(-s.z[0]) : sigmoid(s.z[1]);
    s.c_new = f * s.c + i * g;
    s.h_new = o * tanh_of(s.c_new);
    s.saved[0] = i;
    if (!kCoupled) s.saved[1] = f;
    s.saved[gates - 2] = g;
    s.saved[gates - 1] = o;
  }

  template <class S>
  static void backward(S& s) {
    const auto i = s.saved[0], g = s.saved[gates - 2], o = s.saved[gates - 1];
    const auto f = kCoupled ? 1 - i : s.saved[1], y = tanh_of(s.c_new);
    const auto dc = s.dc + s.dh * o * (1 - y * y);
    const auto di = dc * g, df = dc * s.c, slope = i * (1 - i);
    s.dz[0] = kCoupled ? (di - df) * slope : di * slope;
    if (!kCoupled) s.dz[1] = df * f * (1 - f);
    s.dz[gates - 2] = dc * i * (1 - g * g);
    s.dz[gates - 1] = s.dh * y * o * (1 - o);
    s.dc = dc * f;
  }
};

// The vectors p_i and p_f multiply the old c, and p_o multiplies the new c.
struct PeepholeLstm : Defaults {
  static constexpr int gates = 4, states = 2, vectors = 3, saved = 4;

  template <class S>
  static void forward(S& s) {
    const auto p_i = s.v[0], p_f = s.v[1], p_o = s.v[2];
    const auto i = sigmoid(s.z[0] + p_i * s.c), f = sigmoid(s.z[1] + p_f * s.c);
    const auto g = tanh_of(s.z[2]);
    s.c_new = f * s.c + i * g;
    const auto o = sigmoid(s.z[3] + p_o * s.c_new);
    s.h_new = o * tanh_of(s.c_new);
    s.saved[0] = i;
    s.saved[1] = f;
    s.saved[2] = g;
    s.saved[3] = o;
  }

  template <class S>
  static void backward(S& s) {
    const auto p_i = s.v[0], p_f = s.v[1], p_o = s.v[2];
    const auto i = s.saved[0], f = s.saved[1], g = s.saved[2], o = s.saved[3];
    const auto y = tanh_of(s.c_new);
    s.dz[3] = s.dh * y * o * (1 - o);
    const auto dc = s.dc + s.dh * o * (1 - y * y) + s.dz[3] * p_o;
    s.dz[0] = dc * g * i * (1 - i);
    s.dz[1] = dc * s.c * f * (1 - f);
    s.dz[2] = dc * i * (1 - g * g);
    s.dv[0] = s.dz[0] * s.c;
    s.dv[1] = s.dz[1] * s.c;
    s.dv[2] = s.dz[3] * s.c_new;
    s.dc = dc * f + s.dz[0] * p_i + s.dz[1] * p_f;
  }
};

// The reset gate multiplies h U_n + b_n; z[3] is h U_n, and the vector is b_n.
struct GruAfter : Defaults {
  static constexpr int gates = 3, own_sums = 1, vectors = 1, saved = 4;

  template <class S>
  static void forward(S& s) {
    const auto r = sigmoid(s.z[0]), z = sigmoid(s.z[1]), h_n = s.z[3] + s.v[0];
    const auto n = tanh_of(s.z[2] + r * h_n);
    s.h_new = (1 - z) * n + z * s.h;
    s.saved[0] = r;
    s.saved[1] = z;
    s.saved[2] = n;
    s.saved[3] = h_n;
  }

  template <class S>
  static void backward(S& s) {
    const auto r = s.saved[0], z = s.saved[1], n = s.saved[2], h_n = s.saved[3];
    s.dz[2] = s.dh * (1 - z) * (1 - n * n);
    s.dz[0] = s.dz[2] * h_n * r * (1 - r);
    s.dz[1] = s.dh * (s.h - n) * z * (1 - z);
    s.dz[3] = s.dz[2] * r;
    s.dv[0] = s.dz[3];
    s.direct = s.dh * z;
  }
};

// The reset gate comes before the matmul: (r h) U_n.
struct GruBefore : Defaults {
  static constexpr int gates = 3, saved = 3;
  static constexpr bool two_stages = true;

  template <class V>
  static void first(V& r, V h, V& rh) {
    r = sigmoid(r);
    rh = r * h;
  }

  template <class S>
  static void forward(S& s) {
    const auto r = s.z[0], z = sigmoid(s.z[1]), n = tanh_of(s.z[2]);
    s.h_new = (1 - z) * n + z * s.h;
    s.saved[0] = r;
    s.saved[1] = z;
    s.saved[2] = n;
  }

  template <class S>
  static void backward(S& s) {
    const auto z = s.saved[1], n = s.saved[2];
    s.dz[1] = s.dh * (s.h - n) * z * (1 - z);
    s.dz[2] = s.dh * (1 - z) * (1 - n * n);
    s.direct = s.dh * z;
  }

  template <class V>
  static void last(V d_rh, V r, V h, V& dz_r, V& direct) {
    dz_r += d_rh * h * r * (1 - r);
    direct += d_rh * r;
  }
};

// The gate f is used twice, in (f h) U_n and in the new state. `backward` computes its gradient
// from the new state, and `last` adds its gradient from (f h) U_n.
struct Mgu : Defaults {
  static constexpr int gates = 2, saved = 2;
  static constexpr bool two_stages = true;

  template <class V>
  static void first(V& f, V h, V& fh) {
    f = sigmoid(f);
    fh = f * h;
  }

  template <class S>
  static void forward(S& s) {
    const auto f = s.z[0], n = tanh_of(s.z[1]);
    s.h_new = (1 - f) * s.h + f * n;
    s.saved[0] = f;
    s.saved[1] = n;
  }

  template <class S>
  static void backward(S& s) {
    const auto f = s.saved[0], n = s.saved[1];
    s.dz[0] = s.dh * (n - s.h) * f * (1 - f);
    s.dz[1] = s.dh * f * (1 - n * n);
    s.direct = s.dh * (1 - f);
  }

  template <class V>
  static void last(V d_fh, V f, V h, V& dz_f, V& direct) {
    dz_f += d_fh * h * f * (1 - f);
    direct += d_fh * f;
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

template <class Activation>
struct Elman : Defaults {
  static constexpr int gates = 1;

  template <class S>
  static void forward(S& s) {
    s.h_new = Activation::value(s.z[0]);
  }

  template <class S>
  static void backward(S& s) {
    s.dz[0] = Activation::back(s.dh, s.h_new);
  }
};

// Each unit reads only its own state, through the vector u.
template <class Activation>
struct IndRnn : Defaults {
  static constexpr int gates = 1, vectors = 1;
  static constexpr bool has_u = false;

  template <class S>
  static void forward(S& s) {
    s.h_new = Activation::value(s.z[0] + s.v[0] * s.h);
  }

  template <class S>
  static void backward(S& s) {
    s.dz[0] = Activation::back(s.dh, s.h_new);
    s.dv[0] = s.dz[0] * s.h;
    s.direct = s.v[0] * s.dz[0];
  }
};

// Every cell that has a kernel. Its name here is also the name of its step in `reference.py`.
template <class Visit>
constexpr void each_cell(Visit&& visit) {
  visit("lstm", Lstm<false>{});
  visit("lstm_coupled", Lstm<true>{});
  visit("gru_after", GruAfter{});
  visit("gru_before", GruBefore{});
  visit("elman_tanh", Elman<Tanh>{});
  visit("elman_relu", Elman<Relu>{});
  visit("indrnn_tanh", IndRnn<Tanh>{});
  visit("indrnn_relu", IndRnn<Relu>{});
  visit("mgu", Mgu{});
  visit("peephole_lstm", PeepholeLstm{});
}

}  // namespace jaxrnn::JAXRNN_ISA
