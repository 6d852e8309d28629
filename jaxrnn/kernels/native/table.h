// Makes the table of cells for one instruction set from `each_cell`: the constants and both
// passes of every cell.
#pragma once

#include "backward.h"
#include "forward.h"

namespace jaxrnn::JAXRNN_ISA {

// Runs a pass if it has memory; returns the bytes that it needs.
template <class Real, class Cell, template <class, class> class Pass, class Problem>
size_t run_pass(const Problem& f, const Rows& rows, Team& team, void* memory) {
  Arena arena{static_cast<char*>(memory)};
  Pass<Real, Cell> pass(f, rows, team, arena);
  if (memory) pass();
  return arena.used;
}

template <class Single, class Double, class Cell>
constexpr CellKernel kernel_of(const char* name) {
  static_assert(Cell::gates >= 1 && Cell::saved >= 0);
  static_assert(Cell::states == 1 || Cell::states == 2, "h, or h and c");
  static_assert(Cell::vectors >= 0 && Cell::vectors <= kMaxVectors,
                "raise kMaxVectors in problem.h");
  static_assert(Cell::own_sums >= 0 && Cell::own_sums <= Cell::gates);
  static_assert(Cell::has_u || (Cell::own_sums == 0 && !Cell::two_stages),
                "without U there is no product for a sum of its own or a second stage");
  static_assert(!Cell::two_stages ||
                    (Cell::gates >= 2 && Cell::saved >= 1 && Cell::own_sums == 0),
                "the gate of the first stage is saved, and is not the last gate");
  return {name,
          Cell::gates,
          Cell::states,
          Cell::saved,
          Cell::vectors,
          Cell::has_u,
          {run_pass<Single, Cell, ForwardPass, Forward>,
           run_pass<Double, Cell, ForwardPass, Forward>},
          {run_pass<Single, Cell, BackwardPass, Backward>,
           run_pass<Double, Cell, BackwardPass, Backward>}};
}

constexpr int64_t count_cells() {
  int64_t count = 0;
  each_cell([&](const char*, auto) { ++count; });
  return count;
}

template <class Single, class Double>
struct Table {
  CellKernel cells[count_cells()] = {};

  constexpr Table() {
    int64_t i = 0;
    each_cell([&](const char* name, auto cell) {
      cells[i++] = kernel_of<Single, Double, decltype(cell)>(name);
    });
  }
};

template <class Single, class Double>
constexpr Table<Single, Double> table{};

}  // namespace jaxrnn::JAXRNN_ISA
