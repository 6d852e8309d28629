// The forward pass of a layer: a block of time steps at a time, its projection first, while
// it is in cache, then the recurrence step by step.
#pragma once

#include "cells.h"
#include "schedule.h"

namespace jaxrnn::JAXRNN_ISA {

template <class Real, class Cell>
struct ForwardPass : Pass<Real, Cell> {
  using Base = Pass<Real, Cell>;
  using V = Vec<Real>;
  using Base::active, Base::at, Base::at_position, Base::block, Base::each_row,
      Base::each_vector, Base::real, Base::rows, Base::team;
  using Base::B, Base::H, Base::I, Base::P, Base::PI, Base::T;
  static constexpr int G = Cell::gates, GW = Cell::w_gates, GU = Cell::u_gates;
  static constexpr int S = Cell::saved;

  const Forward& f;
  Real *w, *u, *bias, *x, *z, *h[2], *c, *rh;

  ForwardPass(const Forward& forward, const Rows& all, Team& threads, Arena& arena)
      : Base{forward, all, threads}, f(forward) {
    this->take_block(arena);
    const int64_t capacity = block.capacity;
    w = arena.take<Real>(GW * P * I * kPanel);
    u = arena.take<Real>(Cell::has_product ? GU * P * H * kPanel : P * kPanel);
    bias = arena.take<Real>(G * P * kPanel);
    x = arena.take<Real>(PI * capacity * kPanel);
    z = arena.take<Real>(G * P * capacity * kPanel);
    for (Real*& state : h) state = arena.take<Real>(P * B * kPanel);
    c = arena.take<Real>(Cell::has_c ? P * B * kPanel : 0);
    rh = arena.take<Real>(Cell::two_stages ? P * B * kPanel : 0);
  }

  void operator()() {
    pack();
    for (int64_t t = 0; t < T; t += this->steps) {
      block.place(rows, t, t + this->steps < T ? t + this->steps : T);
      f.split_units ? by_units() : by_lanes();
    }
    finish();
  }

  void pack() {
    run_each(team, G * P, [&](int64_t gp) {
      const int64_t g = gp / P, p = gp % P, n = H - p * kPanel;
      const Real* b = g < GW ? real(f.b) + g * H : real(f.b_n);
      pack_panel(b + p * kPanel, 1, 0, n, bias + gp * kPanel);
      if (g < GW)
        pack_panel(real(f.w) + g * H + p * kPanel, I, GW * H, n, w + gp * I * kPanel);
      if (Cell::has_product && g < GU)
        pack_panel(real(f.u) + g * H + p * kPanel, H, GU * H, n, u + gp * H * kPanel);
      if (!Cell::has_product)
        pack_panel(real(f.u) + p * kPanel, 1, 0, n, u + p * kPanel);
    });
    run_each(team, B, [&](int64_t position) {
      const int64_t row = rows.order[position];
      for (Real* state : h) pack_row(real(f.h0) + row * H, H, B, position, state);
      if (Cell::has_c) pack_row(real(f.c0) + row * H, H, B, position, c);
      for (int64_t t = 0; rows.valid && t < T; ++t)
        if (!rows.runs(t, row))
          std::memset(real(f.ys) + (t * B + row) * H, 0, H * sizeof(Real));
    });
    for (int64_t lane = 0; lane < rows.lanes; ++lane) restart(lane, 0, {0, P});
  }

  // Rows that are reset before step t, which may be a step that they skip.
  void restart(int64_t lane, int64_t t, Range units) {
    if (!rows.reset || t >= T) return;
    for (int64_t j = 0; j < active(lane, t); ++j) {
      const int64_t position = rows.start[lane] + j, row = rows.order[position];
      if (!rows.starts(t, row)) continue;
      for (int64_t p = units.from; p < units.to; ++p)
        each_vector(p, [&](int64_t v, int64_t unit, int64_t left) {
          const int64_t k = at_position(p, position) + v;
          store(h[t & 1] + k, load(real(f.start_h) + unit, left));
          if (Cell::has_c) store(c + k, load(real(f.start_c) + unit, left));
        });
    }
  }

  void by_lanes() {
    this->each_lane([&](int64_t lane) {
      const Range all{0, P};
      pack_x(lane, this->all_steps());
      project(block.rows_of(lane), {0, G * P});
      for (int64_t t = block.t0; t < block.t1; ++t) {
        if (Cell::two_stages) first_stage(lane, t, all);
        step(lane, t, all);
      }
    });
  }

  void by_units() {
    run(team, team.size, [&](int s) { pack_x(0, this->part_of_steps(team.size, s)); });
    run(team, team.size, [&](int s) {
      project(block.rows_of(0), part(G * P, team.size, s));
    });
    for (int64_t t = block.t0; t < block.t1; ++t) {
      if (Cell::two_stages)
        this->each_panel_share([&](Range units) { first_stage(0, t, units); });
      this->each_panel_share([&](Range units) { step(0, t, units); });
    }
  }

  void pack_x(int64_t lane, Range some) {
    each_row(lane, some, [&](int64_t t, int64_t, int64_t row, int64_t r) {
      pack_row(real(f.x) + (t * B + row) * I, I, block.capacity, r, x);
    });
  }

  void project(Range some, Range gate_panels) {
    const int64_t count = some.to - some.from;
    for (int64_t gp = gate_panels.from; gp < gate_panels.to; ++gp) {
      const Left<Real> left{x + some.from * kPanel, block.capacity * kPanel};
      const int64_t depth = gp < GW * P ? I : 0;  // a gate without W: its bias alone
      panel_product(count, left, depth, w + gp * I * kPanel, bias + gp * kPanel, 0,
                    z + at(gp, some.from));
    }
  }

  // z += state U, for the gates from `from` to `to` of one panel of units.
  void product(int64_t lane, int64_t t, int64_t p, const Real* state, int from, int to) {
    const Left<Real> left{state + rows.start[lane] * kPanel, B * kPanel};
    for (int g = from; g < to; ++g) {
      Real* sums = z + at(Cell::u_to[g] * P + p, block.row(lane, t));
      panel_product(active(lane, t), left, H, u + (g * P + p) * H * kPanel, sums, kPanel,
                    sums);
    }
  }

  void first_stage(int64_t lane, int64_t t, Range units) {
    if constexpr (Cell::two_stages) {
      const Real* state = h[t & 1];
      for (int64_t p = units.from; p < units.to; ++p) {
        product(lane, t, p, state, 0, GU - 1);
        for (int64_t j = 0; j < active(lane, t); ++j)
          each_vector(p, [&](int64_t v, int64_t, int64_t) {
            const int64_t k = at_position(p, rows.start[lane] + j) + v;
            Real* gate = z + at(p, block.row(lane, t) + j) + v;
            V z_r = load(gate), product_with_r;
            Cell::first(z_r, load(state + k), product_with_r);
            store(gate, z_r);
            store(rh + k, product_with_r);
          });
      }
    }
  }

  void step(int64_t lane, int64_t t, Range units) {
    for (int64_t p = units.from; p < units.to; ++p) {
      if (Cell::two_stages) {
        product(lane, t, p, rh, GU - 1, GU);
      } else if (Cell::has_product) {
        product(lane, t, p, h[t & 1], 0, GU);
      }
      for (int64_t j = 0; j < active(lane, t); ++j)
        point(t, p, rows.start[lane] + j, block.row(lane, t) + j);
    }
    restart(lane, t + 1, units);
  }

  // One row, one panel of units: from the sums of the gates to the new state.
  void point(int64_t t, int64_t p, int64_t position, int64_t r) {
    const int64_t row = rows.order[position], out = t * B + row;
    const Real* before = h[t & 1];
    Real* after = h[(t + 1) & 1];
    if (!rows.runs(t, row)) {
      const int64_t k = at_position(p, position);
      std::memcpy(after + k, before + k, kPanel * sizeof(Real));
      return;
    }
    each_vector(p, [&](int64_t v, int64_t unit, int64_t left) {
      const int64_t k = at_position(p, position) + v;
      V sums[G], keep[S > 0 ? S : 1], h_new, c_new{};
      for (int g = 0; g < G; ++g) sums[g] = load(z + at(g * P + p, r) + v);
      Cell::forward(sums, load(before + k), Cell::has_c ? load(c + k) : V{},
                    Cell::has_product ? V{} : load(u + p * kPanel + v), h_new, c_new, keep);
      store(after + k, h_new);
      store(real(f.ys) + out * H + unit, h_new, left);
      if (Cell::has_c) store(c + k, c_new);
      if (Cell::has_c && f.cs) store(real(f.cs) + out * H + unit, c_new, left);
      if (f.saved)
        for (int s = 0; s < S; ++s)
          store(real(f.saved) + (out * S + s) * H + unit, keep[s], left);
    });
  }

  // The state of a row is where its last step left it.
  void finish() {
    for (int64_t lane = 0; lane < rows.lanes; ++lane)
      for (int64_t j = 0; j < rows.start[lane + 1] - rows.start[lane]; ++j) {
        const int64_t position = rows.start[lane] + j, row = rows.order[position];
        int64_t t = T;
        while (t > 0 && active(lane, t - 1) <= j) --t;
        unpack_row(h[t & 1], H, B, position, real(f.h) + row * H);
        if (Cell::has_c) unpack_row(c, H, B, position, real(f.c) + row * H);
      }
  }
};

}  // namespace jaxrnn::JAXRNN_ISA
