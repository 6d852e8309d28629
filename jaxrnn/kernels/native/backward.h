// The backward pass of a layer, in blocks of time steps from the last to the first. In each
// block the recurrence runs in reverse and stores the gradients of the pre-activations; while
// these are in cache, matmuls compute the gradients of W, U and the inputs from them.
#pragma once

#include "schedule.h"

namespace jaxrnn::JAXRNN_ISA {

template <class Real, class Cell>
struct BackwardPass : Pass<Real, Cell> {
  using Base = Pass<Real, Cell>;
  using V = Vec<Real>;
  using Base::active, Base::at, Base::at_position, Base::block, Base::each_row,
      Base::each_vector, Base::real, Base::rows, Base::team;
  using Base::B, Base::H, Base::I, Base::P, Base::PI, Base::T;
  using Base::G, Base::S, Base::N, Base::kHasC;
  static constexpr int kSums = sums_of<Cell>;
  // The number of gates that multiply h by U; with two stages, the last gate does not.
  static constexpr int kCarried = !Cell::has_u ? 0 : Cell::two_stages ? G - 1 : G;

  const Backward& f;
  // For one block, in panels: inputs, states before each step, those states times the gate of
  // the first stage, and gradients of the pre-activations.
  Real *x, *hp, *rh, *dz;
  // For the whole batch: gradients of h, c and gate times h. For one block: gradients of the
  // inputs (`scratch`).
  Real *dh, *dc, *d_rh, *scratch;
  Real *wt, *ut, *vectors, *zeros;          // parameters; wt, ut: transposed
  Real *d_w, *d_u, *d_b;                    // gradients summed so far
  Real *d_vectors, *d_start_h, *d_start_c;  // the same, for each group

  BackwardPass(const Backward& backward, const Rows& all, Team& threads, Arena& arena)
      : Base{backward, all, threads}, f(backward) {
    this->take_block(arena);
    const int64_t capacity = block.capacity, groups = rows.groups;
    x = arena.take<Real>(PI * capacity * kPanel);
    hp = arena.take<Real>(P * capacity * kPanel);
    rh = arena.take<Real>(Cell::two_stages ? P * capacity * kPanel : 0);
    dz = arena.take<Real>(kSums * P * capacity * kPanel);
    dh = arena.take<Real>(P * B * kPanel);
    dc = arena.take<Real>(kHasC ? P * B * kPanel : 0);
    d_rh = arena.take<Real>(Cell::two_stages ? P * B * kPanel : 0);
    scratch = arena.take<Real>(PI * capacity * kPanel);
    wt = arena.take<Real>(PI * G * H * kPanel);
    ut = arena.take<Real>(Cell::has_u ? P * G * H * kPanel : 0);
    vectors = arena.take<Real>(N * P * kPanel);
    zeros = arena.take<Real>(kPanel);
    d_w = arena.take<Real>(G * P * I * kPanel);
    d_u = arena.take<Real>(Cell::has_u ? G * P * H * kPanel : 0);
    d_b = arena.take<Real>(G * P * kPanel);
    d_vectors = arena.take<Real>(groups * N * P * kPanel);
    d_start_h = arena.take<Real>(groups * P * kPanel);
    d_start_c = arena.take<Real>(groups * P * kPanel);
  }

  void operator()() {
    pack();
    for (int64_t t = (T - 1) / this->steps * this->steps; t >= 0; t -= this->steps) {
      block.place(rows, t, t + this->steps < T ? t + this->steps : T);
      f.split_units ? by_units() : by_groups();
      products();
    }
    finish();
  }

  static void clear(Real* array, int64_t count) {
    std::memset(array, 0, count * sizeof(Real));
  }

  void pack() {
    clear(zeros, kPanel);
    clear(d_b, G * P * kPanel);
    clear(d_vectors, rows.groups * N * P * kPanel);
    clear(d_start_h, rows.groups * P * kPanel);
    clear(d_start_c, rows.groups * P * kPanel);
    this->pack_vectors(vectors);
    run_each(team, f.d_x ? PI * G : 0, [&](int64_t i) {
      const int64_t pi = i / G, g = i % G;
      pack_panel_transposed(real(f.w) + pi * kPanel * G * H + g * H, H, G * H,
                            I - pi * kPanel, wt + i * H * kPanel);
    });
    run_each(team, Cell::has_u ? P * G : 0, [&](int64_t i) {
      const int64_t p = i / G, g = i % G;
      pack_panel_transposed(real(f.u) + p * kPanel * G * H + g * H, H, G * H,
                            H - p * kPanel, ut + i * H * kPanel);
      clear(d_u + i * H * kPanel, H * kPanel);
    });
    run_each(team, G * P,
             [&](int64_t gp) { clear(d_w + gp * I * kPanel, I * kPanel); });
    run_each(team, B, [&](int64_t position) {
      const int64_t row = rows.order[position];
      pack_row(real(f.d_h) + row * H, H, B, position, dh);
      if (kHasC) pack_row(real(f.d_c) + row * H, H, B, position, dc);
      for (int64_t t = 0; f.d_x && rows.valid && t < T; ++t)
        if (!rows.runs(t, row)) clear(real(f.d_x) + (t * B + row) * I, I);
    });
  }

  // The state from which step t of a sequence started; `after` has the states after each step.
  const Real* began(const void* after, const void* start, const void* initial, int64_t t,
                    int64_t row) const {
    for (;; --t) {  // back over skipped steps, each of which may have a reset
      if (rows.starts(t, row)) return real(start);
      if (t == 0) return real(initial) + row * H;
      if (rows.runs(t - 1, row)) return real(after) + ((t - 1) * B + row) * H;
    }
  }

  void pack_inputs(int64_t group, Range some) {
    each_row(group, some, [&](int64_t t, int64_t, int64_t row, int64_t r) {
      if (!rows.runs(t, row)) return clear_inputs(r);
      pack_row(real(f.x) + (t * B + row) * I, I, block.capacity, r, x);
      const Real* before = began(f.ys, f.start_h, f.h0, t, row);
      pack_row(before, H, block.capacity, r, hp);
      if (Cell::two_stages) {
        const Real* gate = real(f.saved) + (t * B + row) * S * H;
        for (int64_t j = 0; j < H; j += lanes<Real>)
          store(rh + at(j / kPanel, r) + j % kPanel,
                load(gate + j, H - j) * load(before + j, H - j));
      }
    });
  }

  // Writes zeros for a skipped step, whose inputs and residuals may be NaN: the matmuls for the
  // gradients of the weights multiply them by zero, and zero times NaN is NaN.
  void clear_inputs(int64_t r) {
    for (int64_t p = 0; p < PI; ++p) clear(x + at(p, r), kPanel);
    for (int64_t p = 0; p < P; ++p) clear(hp + at(p, r), kPanel);
    for (int64_t p = 0; Cell::two_stages && p < P; ++p) clear(rh + at(p, r), kPanel);
  }

  // Each thread keeps its group of sequences for the whole block.
  void by_groups() {
    this->each_group([&](int64_t group) {
      const Range all{0, P};
      pack_inputs(group, this->all_steps());
      for (int64_t t = block.t1 - 1; t >= block.t0; --t) {
        step(group, t, all);
        if (Cell::two_stages) last_stage(group, t, all);
        carry(group, t, all);
      }
    });
  }

  // All threads work on the same step, each on its own units. `carry` and the next `step` need
  // no wait between them: the step reads only units of dh that the same share has written.
  void by_units() {
    run(team, team.size,
        [&](int s) { pack_inputs(0, this->part_of_steps(team.size, s)); });
    for (int64_t t = block.t1 - 1; t >= block.t0; --t) {
      this->each_panel_share([&](Range units) {
        if (t + 1 < block.t1) carry(0, t + 1, units);
        step(0, t, units);
      });
      if (Cell::two_stages)
        this->each_panel_share([&](Range units) { last_stage(0, t, units); });
    }
    this->each_panel_share([&](Range units) { carry(0, block.t0, units); });
  }

  void step(int64_t group, int64_t t, Range units) {
    for (int64_t p = units.from; p < units.to; ++p)
      for (int64_t j = 0; j < active(group, t); ++j)
        point(group, t, p, rows.start[group] + j, block.row(group, t) + j);
  }

  // For one sequence and one panel of units: computes the gradients of the pre-activations
  // from the gradient of the new state.
  void point(int64_t group, int64_t t, int64_t p, int64_t position, int64_t r) {
    const int64_t row = rows.order[position], out = t * B + row;
    if (!rows.runs(t, row)) {
      for (int g = 0; g < kSums; ++g) clear(dz + at(g * P + p, r), kPanel);
      return;
    }
    const Real* c_before = kHasC ? began(f.cs, f.start_c, f.c0, t, row) : nullptr;
    Real* sums = d_vectors + (group * N * P + p) * kPanel;
    each_vector(p, [&](int64_t v, int64_t unit, int64_t left) JAXRNN_INLINE {
      const int64_t k = at_position(p, position) + v;
      StepBack<V, Cell> s;
      s.h = load(hp + at(p, r) + v);
      s.h_new = load(real(f.ys) + out * H + unit, left);
      if (kHasC) {
        s.c = load(c_before + unit, left);
        s.c_new = load(real(f.cs) + out * H + unit, left);
        s.dc = load(dc + k);
      }
      for (int i = 0; i < N; ++i) s.v[i] = load(vectors + (i * P + p) * kPanel + v);
      for (int i = 0; i < S; ++i)
        s.saved[i] = load(real(f.saved) + (out * S + i) * H + unit, left);
      s.dh = load(dh + k) + load(real(f.d_ys) + out * H + unit, left);
      Cell::backward(s);
      store(dh + k, s.direct);
      if (kHasC) store(dc + k, s.dc);
      for (int g = 0; g < kSums; ++g) store(dz + at(g * P + p, r) + v, s.dz[g]);
      for (int i = 0; i < N; ++i) {
        Real* sum = sums + i * P * kPanel + v;
        store(sum, load(sum) + s.dv[i]);
      }
    });
  }

  Left<Real> gate_gradients(int g, int64_t r) const {
    return {dz + at(g * P, r), block.capacity * kPanel};
  }

  // The gradient of gate times h, and its part in the gradients of that gate and of h.
  void last_stage(int64_t group, int64_t t, Range units) {
    if constexpr (Cell::two_stages) {
      const int64_t first = rows.start[group], r0 = block.row(group, t);
      for (int64_t p = units.from; p < units.to; ++p) {
        panel_product(active(group, t), gate_gradients(G - 1, r0), H,
                      ut + (p * G + G - 1) * H * kPanel, zeros, 0,
                      d_rh + at_position(p, first));
        for (int64_t j = 0; j < active(group, t); ++j)
          if (rows.runs(t, rows.order[first + j]))
            last_point(t, p, first + j, r0 + j);
      }
    }
  }

  void last_point(int64_t t, int64_t p, int64_t position, int64_t r) {
    const int64_t out = t * B + rows.order[position];
    each_vector(p, [&](int64_t v, int64_t unit, int64_t left) {
      const int64_t k = at_position(p, position) + v;
      Real* dz_first = dz + at(p, r) + v;
      V direct = load(dh + k), d_gate = load(dz_first);
      Cell::last(load(d_rh + k), load(real(f.saved) + out * S * H + unit, left),
                 load(hp + at(p, r) + v), d_gate, direct);
      store(dh + k, direct);
      store(dz_first, d_gate);
    });
  }

  // dh += dz U'. If the step was reset, dh is moved to the gradient of the initial state.
  void carry(int64_t group, int64_t t, Range units) {
    const int64_t first = rows.start[group];
    for (int64_t p = units.from; p < units.to; ++p) {
      Real* to = dh + at_position(p, first);
      for (int g = 0; g < kCarried; ++g)
        panel_product(active(group, t), gate_gradients(u_sum<Cell>(g), block.row(group, t)),
                      H, ut + (p * G + g) * H * kPanel, to, kPanel, to);
      for (int64_t j = 0; rows.reset && j < active(group, t); ++j) {
        const int64_t row = rows.order[first + j];
        if (!rows.starts(t, row)) continue;
        route_reset_gradient(at_position(p, first + j), (group * P + p) * kPanel);
      }
    }
  }

  void route_reset_gradient(int64_t k, int64_t start) {
    for (int64_t v = 0; v < kPanel; v += lanes<Real>) {
      store(d_start_h + start + v, load(d_start_h + start + v) + load(dh + k + v));
      store(dh + k + v, V{});
      if (!kHasC) continue;
      store(d_start_c + start + v, load(d_start_c + start + v) + load(dc + k + v));
      store(dc + k + v, V{});
    }
  }

  // The block's part of the gradients of inputs and weights, as far as they are wanted. The
  // longest matmuls come first, so that no thread starts a long one at the end.
  void products() {
    const int64_t gate_panels = G * P;
    const int64_t from = f.d_x ? 0 : PI;
    const int64_t to = f.d_w ? PI + gate_panels * (Cell::has_u ? 2 : 1) : PI;
    run_each(team, to - from, [&](int64_t k) {
      const int64_t i = from + k;
      if (i < PI) return input_gradient(i);
      if (i < PI + gate_panels) return w_gradient(i - PI);
      u_gradient(i - PI - gate_panels);
    });
  }

  void input_gradient(int64_t pi) {
    Real* sums = scratch + at(pi, 0);
    for (int g = 0; g < G; ++g)
      panel_product(block.rows, gate_gradients(g, 0), H, wt + (pi * G + g) * H * kPanel,
                    g ? sums : zeros, g ? kPanel : 0, sums);
    const int64_t columns = I - pi * kPanel < kPanel ? I - pi * kPanel : kPanel;
    for (int64_t group = 0; group < rows.groups; ++group)
      each_row(group, this->all_steps(), [&](int64_t t, int64_t, int64_t row, int64_t r) {
        if (!rows.runs(t, row)) return;
        std::memcpy(real(f.d_x) + (t * B + row) * I + pi * kPanel, sums + r * kPanel,
                    columns * sizeof(Real));
      });
  }

  // to += left' dz, for one panel of one gate; `left` has `features` columns.
  void weight_gradient(const Real* left, int64_t features, int64_t gate_panel, Real* to) {
    for (int64_t p = 0; p < panels(features); ++p) {
      const int64_t count = features - p * kPanel;
      panel_product<Real, true>(count < kPanel ? count : kPanel, {left + at(p, 0), 0},
                                block.rows, dz + at(gate_panel, 0),
                                to + p * kPanel * kPanel, kPanel,
                                to + p * kPanel * kPanel);
    }
  }

  void w_gradient(int64_t gp) {
    weight_gradient(x, I, gp, d_w + gp * I * kPanel);
    add_rows(gp);
  }

  void u_gradient(int64_t gp) {
    const int64_t g = gp / P, sum = u_sum<Cell>(g) * P + gp % P;
    weight_gradient(Cell::two_stages && g == G - 1 ? rh : hp, H, sum,
                    d_u + gp * H * kPanel);
  }

  // d_b += dz, summed over the block.
  void add_rows(int64_t gp) {
    for (int64_t v = 0; v < kPanel; v += lanes<Real>) {
      V sum = load(d_b + gp * kPanel + v);
      for (int64_t r = 0; r < block.rows; ++r) sum += load(dz + at(gp, r) + v);
      store(d_b + gp * kPanel + v, sum);
    }
  }

  // Copies panels of `count` rows to a row-major matrix of `count` rows and `gates` gates.
  void unpack(const Real* from, int64_t count, int gates, Real* to) {
    run_each(team, gates * P, [&](int64_t gp) {
      const int64_t g = gp / P, p = gp % P;
      for (int64_t r = 0; r < count; ++r)
        each_vector(p, [&](int64_t v, int64_t unit, int64_t left) {
          store(to + r * gates * H + g * H + unit,
                load(from + (gp * count + r) * kPanel + v), left);
        });
    });
  }

  // Adds the sums of the other groups to the sums of the first group.
  void add_groups(Real* sums, int64_t count) const {
    for (int64_t group = 1; group < rows.groups; ++group)
      for (int64_t k = 0; k < count; ++k) sums[k] += sums[group * count + k];
  }

  void finish() {
    if (f.d_w) {
      unpack(d_w, I, G, real(f.d_w));
      if (Cell::has_u) unpack(d_u, H, G, real(f.d_u));
      unpack(d_b, 1, G, real(f.d_b));
      add_groups(d_vectors, N * P * kPanel);
      for (int i = 0; i < N; ++i)
        unpack(d_vectors + i * P * kPanel, 1, 1, real(f.d_vectors[i]));
    }
    add_groups(d_start_h, P * kPanel);
    unpack(d_start_h, 1, 1, real(f.d_start_h));
    if (kHasC) {
      add_groups(d_start_c, P * kPanel);
      unpack(d_start_c, 1, 1, real(f.d_start_c));
    }
    for (int64_t position = 0; position < B; ++position) {
      const int64_t row = rows.order[position];
      unpack_row(dh, H, B, position, real(f.d_h0) + row * H);
      if (kHasC) unpack_row(dc, H, B, position, real(f.d_c0) + row * H);
    }
  }
};

}  // namespace jaxrnn::JAXRNN_ISA
