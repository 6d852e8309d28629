// The forward pass of a layer, in blocks of time steps: first the projection of the whole
// block, then, while that is in cache, the recurrence step by step.
#pragma once

#include "schedule.h"

namespace jaxrnn::JAXRNN_ISA {

template <class Real, class Cell>
struct ForwardPass : Pass<Real, Cell> {
  using Base = Pass<Real, Cell>;
  using V = Vec<Real>;
  using Base::active, Base::at, Base::at_position, Base::block, Base::each_row,
      Base::each_vector, Base::real, Base::rows, Base::team;
  using Base::B, Base::H, Base::I, Base::P, Base::PI, Base::T;
  using Base::G, Base::S, Base::N, Base::kHasC;
  static constexpr int kSums = sums_of<Cell>;

  const Forward& f;
  // h[t % 2] is h before step t. There are two arrays, since the old h is still read while the
  // new h of some units is written.
  Real *w, *u, *bias, *vectors, *x, *z, *h[2], *c, *rh;

  ForwardPass(const Forward& forward, const Rows& all, Team& threads, Arena& arena)
      : Base{forward, all, threads}, f(forward) {
    this->take_block(arena);
    const int64_t capacity = block.capacity;
    w = arena.take<Real>(G * P * I * kPanel);
    u = arena.take<Real>(Cell::has_u ? G * P * H * kPanel : 0);
    bias = arena.take<Real>(kSums * P * kPanel);
    vectors = arena.take<Real>(N * P * kPanel);
    x = arena.take<Real>(PI * capacity * kPanel);
    z = arena.take<Real>(kSums * P * capacity * kPanel);
    for (Real*& state : h) state = arena.take<Real>(P * B * kPanel);
    c = arena.take<Real>(kHasC ? P * B * kPanel : 0);
    rh = arena.take<Real>(Cell::two_stages ? P * B * kPanel : 0);
  }

  void operator()() {
    pack();
    for (int64_t t = 0; t < T; t += this->steps) {
      block.place(rows, t, t + this->steps < T ? t + this->steps : T);
      f.split_units ? by_units() : by_groups();
    }
    finish();
  }

  void pack() {
    run_each(team, G * P, [&](int64_t gp) {
      const int64_t g = gp / P, p = gp % P, n = H - p * kPanel;
      const int64_t column = g * H + p * kPanel;
      pack_panel(real(f.b) + column, 1, 0, n, bias + gp * kPanel);
      pack_panel(real(f.w) + column, I, G * H, n, w + gp * I * kPanel);
      if (Cell::has_u) pack_panel(real(f.u) + column, H, G * H, n, u + gp * H * kPanel);
    });
    std::memset(bias + G * P * kPanel, 0, (kSums - G) * P * kPanel * sizeof(Real));
    this->pack_vectors(vectors);
    run_each(team, B, [&](int64_t position) {
      const int64_t row = rows.order[position];
      for (Real* state : h) pack_row(real(f.h0) + row * H, H, B, position, state);
      if (kHasC) pack_row(real(f.c0) + row * H, H, B, position, c);
      for (int64_t t = 0; rows.valid && t < T; ++t)
        if (!rows.runs(t, row))
          std::memset(real(f.ys) + (t * B + row) * H, 0, H * sizeof(Real));
    });
    for (int64_t group = 0; group < rows.groups; ++group) restart(group, 0, {0, P});
  }

  // Writes the initial state of the sequences that are reset before step t, even if they skip
  // this step.
  void restart(int64_t group, int64_t t, Range units) {
    if (!rows.reset || t >= T) return;
    for (int64_t j = 0; j < active(group, t); ++j) {
      const int64_t position = rows.start[group] + j, row = rows.order[position];
      if (!rows.starts(t, row)) continue;
      for (int64_t p = units.from; p < units.to; ++p)
        each_vector(p, [&](int64_t v, int64_t unit, int64_t left) {
          const int64_t k = at_position(p, position) + v;
          store(h[t & 1] + k, load(real(f.start_h) + unit, left));
          if (kHasC) store(c + k, load(real(f.start_c) + unit, left));
        });
    }
  }

  // Each thread keeps its group of sequences for the whole block.
  void by_groups() {
    this->each_group([&](int64_t group) {
      const Range all{0, P};
      pack_x(group, this->all_steps());
      project(block.rows_of(group), {0, kSums * P});
      for (int64_t t = block.t0; t < block.t1; ++t) {
        if (Cell::two_stages) first_stage(group, t, all);
        step(group, t, all);
      }
    });
  }

  // All threads work on the same step, each on its own units.
  void by_units() {
    run(team, team.size, [&](int s) { pack_x(0, this->part_of_steps(team.size, s)); });
    run(team, team.size, [&](int s) {
      project(block.rows_of(0), part(kSums * P, team.size, s));
    });
    for (int64_t t = block.t0; t < block.t1; ++t) {
      if (Cell::two_stages)
        this->each_panel_share([&](Range units) { first_stage(0, t, units); });
      this->each_panel_share([&](Range units) { step(0, t, units); });
    }
  }

  void pack_x(int64_t group, Range some) {
    each_row(group, some, [&](int64_t t, int64_t, int64_t row, int64_t r) {
      pack_row(real(f.x) + (t * B + row) * I, I, block.capacity, r, x);
    });
  }

  void project(Range some, Range gate_panels) {
    const int64_t count = some.to - some.from;
    for (int64_t gp = gate_panels.from; gp < gate_panels.to; ++gp) {
      const Left<Real> left{x + some.from * kPanel, block.capacity * kPanel};
      const int64_t depth = gp < G * P ? I : 0;  // `own_sums` have no x W
      panel_product(count, left, depth, w + gp * I * kPanel, bias + gp * kPanel, 0,
                    z + at(gp, some.from));
    }
  }

  // z += state U, for gates `from` to `to` - 1 of one panel of units.
  void product(int64_t group, int64_t t, int64_t p, const Real* state, int from, int to) {
    const Left<Real> left{state + rows.start[group] * kPanel, B * kPanel};
    for (int g = from; g < to; ++g) {
      Real* sums = z + at(u_sum<Cell>(g) * P + p, block.row(group, t));
      panel_product(active(group, t), left, H, u + (g * P + p) * H * kPanel, sums, kPanel,
                    sums);
    }
  }

  void first_stage(int64_t group, int64_t t, Range units) {
    if constexpr (Cell::two_stages) {
      const Real* state = h[t & 1];
      for (int64_t p = units.from; p < units.to; ++p) {
        product(group, t, p, state, 0, G - 1);
        for (int64_t j = 0; j < active(group, t); ++j)
          each_vector(p, [&](int64_t v, int64_t, int64_t) {
            const int64_t k = at_position(p, rows.start[group] + j) + v;
            Real* gate = z + at(p, block.row(group, t) + j) + v;
            V value = load(gate), times_h;
            Cell::first(value, load(state + k), times_h);
            store(gate, value);
            store(rh + k, times_h);
          });
      }
    }
  }

  void step(int64_t group, int64_t t, Range units) {
    for (int64_t p = units.from; p < units.to; ++p) {
      if (Cell::two_stages) {
        product(group, t, p, rh, G - 1, G);
      } else if (Cell::has_u) {
        product(group, t, p, h[t & 1], 0, G);
      }
      for (int64_t j = 0; j < active(group, t); ++j)
        point(t, p, rows.start[group] + j, block.row(group, t) + j);
    }
    restart(group, t + 1, units);
  }

  // For one sequence and one panel of units: computes the new state from the pre-activations.
  void point(int64_t t, int64_t p, int64_t position, int64_t r) {
    const int64_t row = rows.order[position], out = t * B + row;
    const Real* before = h[t & 1];
    Real* after = h[(t + 1) & 1];
    if (!rows.runs(t, row)) {
      const int64_t k = at_position(p, position);
      std::memcpy(after + k, before + k, kPanel * sizeof(Real));
      return;
    }
    each_vector(p, [&](int64_t v, int64_t unit, int64_t left) JAXRNN_INLINE {
      const int64_t k = at_position(p, position) + v;
      Step<V, Cell> s;
      s.h = load(before + k);
      if (kHasC) s.c = load(c + k);
      for (int g = 0; g < kSums; ++g) s.z[g] = load(z + at(g * P + p, r) + v);
      for (int i = 0; i < N; ++i) s.v[i] = load(vectors + (i * P + p) * kPanel + v);
      Cell::forward(s);
      store(after + k, s.h_new);
      store(real(f.ys) + out * H + unit, s.h_new, left);
      if (kHasC) store(c + k, s.c_new);
      if (kHasC && f.cs) store(real(f.cs) + out * H + unit, s.c_new, left);
      if (f.saved)
        for (int i = 0; i < S; ++i)
          store(real(f.saved) + (out * S + i) * H + unit, s.saved[i], left);
    });
  }

  // Copies the final states. The h of a sequence that ended early is in the array that its last
  // step wrote.
  void finish() {
    for (int64_t group = 0; group < rows.groups; ++group)
      for (int64_t j = 0; j < rows.start[group + 1] - rows.start[group]; ++j) {
        const int64_t position = rows.start[group] + j, row = rows.order[position];
        int64_t t = T;
        while (t > 0 && active(group, t - 1) <= j) --t;
        unpack_row(h[t & 1], H, B, position, real(f.h) + row * H);
        if (kHasC) unpack_row(c, H, B, position, real(f.c) + row * H);
      }
  }
};

}  // namespace jaxrnn::JAXRNN_ISA
