// What a kernel is asked to do: plain structs, the same for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxrnn {

struct Team;
struct Rows;
struct Forward;
struct Backward;

// The vectors of one number for each unit that a cell may have.
constexpr int kMaxVectors = 4;

// One cell, a row of the table that `table.h` makes: its facts, and both passes, for float and
// for double. `arena` null: nothing is computed, the bytes needed are returned.
struct CellKernel {
  const char* name;
  int64_t gates, states, saved, vectors;  // as in `cells.h`
  bool has_u;
  size_t (*forward[2])(const Forward&, const Rows&, Team&, void* arena);
  size_t (*backward[2])(const Backward&, const Rows&, Team&, void* arena);
};

// Threads that work on one call. `run` returns when fn(context, 0 ... shares - 1) are done.
struct Team {
  int size;
  void (*run)(Team* self, int shares, void (*fn)(void*, int), void* context);
};

// Which steps of which rows are run. Rows are sorted, so that those of step t are the first
// ones of each group: the sequences that one thread keeps.
struct Rows {
  int64_t time, batch, groups;
  const int32_t* order;    // (batch): the row at a position
  const int64_t* start;    // (groups + 1): the first position of each group
  const int32_t* active;   // (groups, time): how many positions of a group step t runs
  const uint8_t* valid;    // (time, batch); null if every step is
  const uint8_t* reset;    // (time, batch); null if no step is reset

  bool runs(int64_t t, int64_t row) const { return !valid || valid[t * batch + row]; }
  bool starts(int64_t t, int64_t row) const { return reset && reset[t * batch + row]; }
};

// Arrays are dense and row-major; G gates, S saved values, both of H units each. Arrays that
// the cell does not have are null.
struct Layer {
  const CellKernel* cell;
  bool is_double;
  bool split_units;  // one group, whose units are shared out; else the groups are
  int64_t inputs, hidden;
  int64_t block;      // rows in a block of time steps, about
  const void* x;      // (T, B, I)
  const void* h0;     // (B, H)
  const void* c0;     // (B, H)
  const void* start_h;  // (H): where a reset starts
  const void* start_c;  // (H)
  const void* w;      // (I, G H)
  const void* u;      // (H, G H)
  const void* b;      // (G H)
  const void* vectors[kMaxVectors];  // (H)
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
  void *d_x, *d_h0, *d_c0, *d_start_h, *d_start_c, *d_w, *d_u, *d_b;
  void* d_vectors[kMaxVectors];
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

// One instruction set.
struct Kernels {
  const char* name;
  const CellKernel* cells;
  int64_t cell_count;
  void (*linear)(const Linear&, Team&);
  void (*linear_backward)(const LinearBackward&, Team&);
};

}  // namespace jaxrnn
