// Between the caller and the kernels: chooses the instruction set, the order of the sequences
// and how threads share the work, and provides the workspace.
#pragma once

#include "problem.h"

namespace jaxrnn {

// The kernels for the widest instruction set that this machine has, or for the one that the
// environment variable JAXRNN_ISA names.
const Kernels& best_kernels();
// The kernels for the instruction set of this name; null if this machine does not have it.
const Kernels* kernels_named(const char* name);

struct StepMask {
  const uint8_t* valid;  // (T, B); null if every step runs
  const uint8_t* reset;  // (T, B); null if no step is reset
};

// Both return false if there is no memory for the workspace.
bool run_forward(Forward, int64_t time, int64_t batch, StepMask, Team&);
bool run_backward(Backward, int64_t time, int64_t batch, StepMask, Team&);

// The number of threads, at most `available`, that this many operations are worth.
int threads_for(double operations, int available);
double operations_of(const Layer& layer, int64_t time, int64_t batch);

}  // namespace jaxrnn
