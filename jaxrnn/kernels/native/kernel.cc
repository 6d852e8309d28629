// All kernels for one instruction set. This file is compiled once for each instruction set,
// with JAXRNN_ISA as its namespace and JAXRNN_VECTOR_BYTES as the width of its vectors. Other
// files use only the struct `kernels` at its end.
#include "linear.h"
#include "table.h"

namespace jaxrnn::JAXRNN_ISA {
namespace {

void linear_of(const Linear& f, Team& team) {
  f.is_double ? linear<double>(f, team) : linear<float>(f, team);
}

void linear_backward_of(const LinearBackward& f, Team& team) {
  f.is_double ? linear_backward<double>(f, team) : linear_backward<float>(f, team);
}

}  // namespace

#define JAXRNN_TEXT_OF(x) #x
#define JAXRNN_TEXT(x) JAXRNN_TEXT_OF(x)
extern const Kernels kernels;
const Kernels kernels{JAXRNN_TEXT(JAXRNN_ISA), table<float, double>.cells, count_cells(),
                      linear_of, linear_backward_of};

}  // namespace jaxrnn::JAXRNN_ISA
