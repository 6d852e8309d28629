// Code of both passes: memory, work for the team, and the order of the data in a block.
#pragma once

#include "cells.h"
#include "gemm.h"
#include "problem.h"

namespace jaxrnn::JAXRNN_ISA {

// Hands out pieces of one workspace; if `base` is null, it only counts their bytes.
struct Arena {
  char* base;
  size_t used = 0;

  template <class T>
  T* take(int64_t count) {
    char* piece = base + used;
    used += (count * sizeof(T) + 63) / 64 * 64;
    return base ? reinterpret_cast<T*>(piece) : nullptr;
  }
};

struct Range {
  int64_t from, to;
};

inline Range part(int64_t count, int64_t shares, int64_t share) {
  return {count * share / shares, count * (share + 1) / shares};
}

template <class Fn>
void run(Team& team, int shares, Fn&& fn) {
  auto call = [](void* context, int share) { (*static_cast<Fn*>(context))(share); };
  team.run(&team, shares, call, &fn);
}

constexpr int kMaxShares = 256;  // the most that a team can hand out at once

// Calls fn(i) for `count` pieces of work of about the same size, divided into equal shares.
template <class Fn>
void run_each(Team& team, int64_t count, Fn&& fn) {
  const int shares = static_cast<int>(count < kMaxShares ? count : kMaxShares);
  run(team, shares, [&](int share) {
    const Range r = part(count, shares, share);
    for (int64_t i = r.from; i < r.to; ++i) fn(i);
  });
}

// The time steps from t0 to t1 - 1. Its arrays have a row for each pair of a time step and a
// sequence that the step visits: group by group, in each group step by step.
struct Block {
  int64_t t0, t1, capacity;
  int64_t rows = 0;
  int64_t* first;  // (groups, steps + 1): the first row of each step

  void place(const Rows& all, int64_t from, int64_t to) {
    t0 = from;
    t1 = to;
    rows = 0;
    for (int64_t group = 0; group < all.groups; ++group) {
      int64_t* at = first + group * (t1 - t0 + 1);
      for (int64_t t = t0; t < t1; ++t) {
        at[t - t0] = rows;
        rows += all.active[group * all.time + t];
      }
      at[t1 - t0] = rows;
    }
  }

  int64_t row(int64_t group, int64_t t) const {
    return first[group * (t1 - t0 + 1) + t - t0];
  }
  Range rows_of(int64_t group) const { return {row(group, t0), row(group, t1)}; }
};

inline int64_t steps_in_block(const Rows& rows, int64_t wanted) {
  const int64_t steps = wanted / rows.batch;
  if (steps < 1) return 1;
  return steps < rows.time ? steps : rows.time;
}

// Copies one row of a row-major matrix to row `r` of panels of `capacity` rows.
template <class Real>
void pack_row(const Real* from, int64_t features, int64_t capacity, int64_t r, Real* to) {
  for (int64_t j = 0; j < features; j += lanes<Real>)
    store(to + (j / kPanel * capacity + r) * kPanel + j % kPanel,
          load(from + j, features - j));
}

// The inverse of `pack_row`.
template <class Real>
void unpack_row(const Real* from, int64_t features, int64_t capacity, int64_t r, Real* to) {
  for (int64_t j = 0; j < features; j += lanes<Real>)
    store(to + j, load(from + (j / kPanel * capacity + r) * kPanel + j % kPanel),
          features - j);
}

// The base of both passes: T time steps, B sequences, I inputs and H units, in PI and P panels;
// G gates, S residuals and N vectors of the cell.
template <class Real, class Cell>
struct Pass {
  const Layer& layer;
  const Rows& rows;
  Team& team;
  static constexpr int G = Cell::gates, S = Cell::saved, N = Cell::vectors;
  static constexpr bool kHasC = Cell::states == 2;
  int64_t T = rows.time, B = rows.batch, I = layer.inputs, H = layer.hidden;
  int64_t P = panels(H), PI = panels(I);
  Block block{};
  int64_t steps = steps_in_block(rows, layer.block);

  static const Real* real(const void* array) { return static_cast<const Real*>(array); }
  static Real* real(void* array) { return static_cast<Real*>(array); }

  void take_block(Arena& arena) {
    block.capacity = steps * B;
    block.first = arena.take<int64_t>(rows.groups * (steps + 1));
  }
  // Copies the vectors to panels: `to[i][p]` is panel p of vector i.
  void pack_vectors(Real* to) const {
    for (int i = 0; i < N; ++i)
      for (int64_t p = 0; p < P; ++p)
        pack_panel(real(layer.vectors[i]) + p * kPanel, 1, 0, H - p * kPanel,
                   to + (i * P + p) * kPanel);
  }
  int64_t active(int64_t group, int64_t t) const { return rows.active[group * T + t]; }
  // The offset of a row of panel `p`, in arrays of a block and in arrays of the whole batch.
  int64_t at(int64_t p, int64_t r) const { return (p * block.capacity + r) * kPanel; }
  int64_t at_position(int64_t p, int64_t position) const {
    return (p * B + position) * kPanel;
  }
  Range all_steps() const { return {block.t0, block.t1}; }
  Range part_of_steps(int shares, int share) const {
    const Range r = part(block.t1 - block.t0, shares, share);
    return {block.t0 + r.from, block.t0 + r.to};
  }
  // Calls fn(step, position, row, row in the block) for each sequence that some steps visit.
  template <class Fn>
  void each_row(int64_t group, Range some, Fn&& fn) const {
    for (int64_t t = some.from; t < some.to; ++t) {
      const int64_t first = rows.start[group];
      for (int64_t j = 0; j < active(group, t); ++j)
        fn(t, first + j, rows.order[first + j], block.row(group, t) + j);
    }
  }
  // Calls fn(offset in the panel, first unit, units left) for each SIMD vector of panel p.
  template <class Fn>
  void each_vector(int64_t p, Fn&& fn) const {
    for (int64_t v = 0; v < kPanel && p * kPanel + v < H; v += lanes<Real>)
      fn(v, p * kPanel + v, H - p * kPanel - v);
  }
  // Divides the panels of units among the threads: fn(range of panels).
  template <class Fn>
  void each_panel_share(Fn&& fn) {
    const int shares = static_cast<int>(P < team.size ? P : team.size);
    run(team, shares, [&](int s) { fn(part(P, shares, s)); });
  }
  // Divides the groups among the threads: fn(group).
  template <class Fn>
  void each_group(Fn&& fn) {
    run(team, static_cast<int>(rows.groups), [&](int group) { fn(group); });
  }
};

}  // namespace jaxrnn::JAXRNN_ISA
