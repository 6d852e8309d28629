// Every kernel for one instruction set. Compiled once for each, with JAXRNN_ISA its
// namespace and JAXRNN_VECTOR_BYTES its width; `Kernels` is all that leaves this file.
#include "backward.h"
#include "forward.h"
#include "linear.h"

namespace jaxrnn::JAXRNN_ISA {
namespace {

template <class Real, template <class, class> class Pass, class Problem>
size_t dispatch(const Problem& f, const Rows& rows, Team& team, void* memory) {
  Arena arena{static_cast<char*>(memory)};
  auto with = [&](auto cell) {
    Pass<Real, decltype(cell)> pass(f, rows, team, arena);
    if (memory) pass();
  };
  switch (f.kind) {
    case CellKind::lstm: with(LstmCell<false>{}); break;
    case CellKind::lstm_coupled: with(LstmCell<true>{}); break;
    case CellKind::gru_after: with(GruAfter{}); break;
    case CellKind::gru_before: with(GruBefore{}); break;
    case CellKind::elman_tanh: with(Simple<Tanh, true>{}); break;
    case CellKind::elman_relu: with(Simple<Relu, true>{}); break;
    case CellKind::indrnn_tanh: with(Simple<Tanh, false>{}); break;
    case CellKind::indrnn_relu: with(Simple<Relu, false>{}); break;
  }
  return arena.used;
}

size_t forward(const Forward& f, const Rows& rows, Team& team, void* memory) {
  return f.is_double ? dispatch<double, ForwardPass>(f, rows, team, memory)
                     : dispatch<float, ForwardPass>(f, rows, team, memory);
}

size_t backward(const Backward& f, const Rows& rows, Team& team, void* memory) {
  return f.is_double ? dispatch<double, BackwardPass>(f, rows, team, memory)
                     : dispatch<float, BackwardPass>(f, rows, team, memory);
}

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
const Kernels kernels{JAXRNN_TEXT(JAXRNN_ISA), forward, backward, linear_of,
                      linear_backward_of};

}  // namespace jaxrnn::JAXRNN_ISA
