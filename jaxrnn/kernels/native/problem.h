// What a kernel is asked to do: plain structs, the same for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxrnn {

// The order is part of the interface to Python (`_native.py`).
enum class CellKind : int64_t {
  lstm,
  lstm_coupled,
  gru_after,
  gru_before,
  elman_tanh,
  elman_relu,
  indrnn_tanh,
  indrnn_relu,
};

// What a cell's arrays look like. The kernels know more, in `cells.h`.
struct CellFacts {
  int64_t gates;  // of W, and of U
  int64_t saved;  // values of each unit and step that are kept for the way back
  bool has_c, has_b_n;
  bool has_product;  // U is a matrix; else each unit sees itself alone
};

constexpr CellFacts kCells[] = {
    {4, 4, true, false, true},   // lstm
    {3, 3, true, false, true},   // lstm_coupled
    {3, 4, false, true, true},   // gru_after
    {3, 3, false, false, true},  // gru_before
    {1, 0, false, false, true},  // elman
    {1, 0, false, false, true},
    {1, 0, false, false, false},  // indrnn
    {1, 0, false, false, false},
};
constexpr int64_t kCellCount = sizeof(kCells) / sizeof(kCells[0]);

inline const CellFacts& facts_of(CellKind kind) {
  return kCells[static_cast<int64_t>(kind)];
}

// Threads that work on one call. `run` returns when fn(context, 0 ... shares - 1) are done.
struct Team {
  int size;
  void (*run)(Team* self, int shares, void (*fn)(void*, int), void* context);
};

// Which steps of which rows are run. Rows are sorted, so that those of step t are the first
// ones of each lane; a lane is a group of rows that one thread keeps.
struct Rows {
  int64_t time, batch, lanes;
  const int32_t* order;    // (batch): the row that stands at a position
  const int64_t* start;    // (lanes + 1): the first position of each lane
  const int32_t* active;   // (lanes, time): how many positions of a lane step t runs
  const uint8_t* valid;    // (time, batch); null if every step is
  const uint8_t* reset;    // (time, batch); null if no step starts anew

  bool runs(int64_t t, int64_t row) const { return !valid || valid[t * batch + row]; }
  bool starts(int64_t t, int64_t row) const { return reset && reset[t * batch + row]; }
};

// Arrays are dense and row-major; G gates, S saved values, both of H units each.
struct Layer {
  CellKind kind;
  bool is_double;
  bool split_units;  // one lane, whose units are shared out; else the lanes are
  int64_t inputs, hidden;
  int64_t block;      // rows in a block of time steps, about
  const void* x;      // (T, B, I)
  const void* h0;     // (B, H)
  const void* c0;     // (B, H), for cells that have it
  const void* start_h;  // (H): where a reset starts
  const void* start_c;  // (H)
  const void* w;      // (I, G H)
  const void* u;      // (H, G H), or (H) where each unit sees itself alone
  const void* b;      // (G H)
  const void* b_n;    // (H), of the GRU with the reset after the product
};

struct Forward : Layer {
  void* ys;     // (T, B, H)
  void* h;      // (B, H)
  void* c;      // (B, H)
  void* cs;     // (T, B, H), null where no gradient is wanted
  void* saved;  // (T, B, S H), likewise
};

// Without d_x, no gradient of the inputs; without d_w, none of any weight.
struct Backward : Layer {
  const void *ys, *cs, *saved;
  const void *d_ys, *d_h, *d_c;
  void *d_x, *d_h0, *d_c0, *d_start_h, *d_start_c, *d_w, *d_u, *d_b, *d_b_n;
};

// h_t = a_t h_{t-1} + b_t, element by element; every array (T, N), states (N).
struct Linear {
  bool is_double;
  int64_t time, width;
  const void *a, *b, *h0;
  void* hs;
  bool cuts;  // whether a decay of -0 cuts off the state before it
};

struct LinearBackward {
  bool is_double;
  int64_t time, width;
  const void *a, *hs, *h0, *d_hs;
  void *d_a, *d_b, *d_h0;
  bool cuts;
};

// One instruction set. `arena` null: nothing is computed, the bytes needed are returned.
struct Kernels {
  const char* name;
  size_t (*forward)(const Forward&, const Rows&, Team&, void* arena);
  size_t (*backward)(const Backward&, const Rows&, Team&, void* arena);
  void (*linear)(const Linear&, Team&);
  void (*linear_backward)(const LinearBackward&, Team&);
};

}  // namespace jaxrnn
