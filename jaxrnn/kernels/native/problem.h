// The arguments of the kernels: plain structs, the same for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace jaxrnn {

struct Team;
struct Rows;
struct Forward;
struct Backward;

// The most vectors, parameters with one number for each unit, that a cell may have.
constexpr int kMaxVectors = 4;

// One entry of the table of cells in `table.h`: the constants of a cell, and both passes, each
// for float and for double. A pass returns how many bytes of `arena` it needs; if `arena` is
// null, it computes nothing.
struct CellKernel {
  const char* name;
  int64_t gates, states, saved, vectors;  // as in `cells.h`
  bool has_u;
  size_t (*forward[2])(const Forward&, const Rows&, Team&, void* arena);
  size_t (*backward[2])(const Backward&, const Rows&, Team&, void* arena);
};

// The threads that work on one call. `run` calls fn(context, share) for every share from 0 to
// shares - 1, and returns when all of them are done.
struct Team {
  int size;
  void (*run)(Team* self, int shares, void (*fn)(void*, int), void* context);
};

// The sequences of a batch, and which of their steps run. A group is the sequences that one
// thread keeps, or all of them. They are sorted so that the sequences that step t visits come
// first; a sequence that a step visits, but that is not valid there, skips this step.
// In names, a row is the index of a sequence in the batch, a position its place in this order.
struct Rows {
  int64_t time, batch, groups;
  const int32_t* order;    // (batch): the row at each position
  const int64_t* start;    // (groups + 1): the first position of each group
  const int32_t* active;   // (groups, time): how many positions step t visits
  const uint8_t* valid;    // (time, batch); null if every step runs
  const uint8_t* reset;    // (time, batch); null if no step is reset

  bool runs(int64_t t, int64_t row) const { return !valid || valid[t * batch + row]; }
  bool starts(int64_t t, int64_t row) const { return reset && reset[t * batch + row]; }
};

// Arrays are dense and row-major; G gates and S residuals of H units each lie side by side.
// Arrays that the cell does not have are null.
struct Layer {
  const CellKernel* cell;
  bool is_double;
  bool split_units;  // threads share the units of one group; else each has a group
  int64_t inputs, hidden;
  int64_t block;      // (time step, sequence) pairs in a block, about
  const void* x;      // (T, B, I)
  const void* h0;     // (B, H)
  const void* c0;     // (B, H)
  const void* start_h;  // (H): h after a reset
  const void* start_c;  // (H): c after a reset
  const void* w;      // (I, G H)
  const void* u;      // (H, G H)
  const void* b;      // (G H)
  const void* vectors[kMaxVectors];  // (H)
};

struct Forward : Layer {
  void* ys;     // (T, B, H)
  void* h;      // (B, H)
  void* c;      // (B, H)
  void* cs;     // (T, B, H); null if no gradient is wanted
  void* saved;  // (T, B, S H); null likewise
};

// If d_x is null, the gradient of the inputs is not computed; if d_w is null, no gradient of W,
// U, b or the vectors is.
struct Backward : Layer {
  const void *ys, *cs, *saved;
  const void *d_ys, *d_h, *d_c;
  void *d_x, *d_h0, *d_c0, *d_start_h, *d_start_c, *d_w, *d_u, *d_b;
  void* d_vectors[kMaxVectors];
};

// h_t = a_t h_{t-1} + b_t, element by element; h0 has `width` elements, the other arrays have
// `time` times as many.
struct Linear {
  bool is_double;
  int64_t time, width;
  const void *a, *b, *h0;
  void* hs;
  bool cuts;  // whether a decay of -0 marks a reset
};

struct LinearBackward {
  bool is_double;
  int64_t time, width;
  const void *a, *hs, *h0, *d_hs;
  void *d_a, *d_b, *d_h0;
  bool cuts;
};

// All kernels for one instruction set.
struct Kernels {
  const char* name;
  const CellKernel* cells;
  int64_t cell_count;
  void (*linear)(const Linear&, Team&);
  void (*linear_backward)(const LinearBackward&, Team&);
};

}  // namespace jaxrnn
