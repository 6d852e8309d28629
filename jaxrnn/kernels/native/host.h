// Between a caller and the kernels: choice of the instruction set, of the rows'
// order and of the split, and a workspace.
#pragma once

#include "problem.h"

namespace jaxrnn {

// The widest instruction set that this machine has; one by name, or null.
const Kernels& best_kernels();
const Kernels* kernels_named(const char* name);

struct StepMask {
  const uint8_t* valid;  // (T, B), or null
  const uint8_t* reset;
};

// False: there was no memory for the workspace.
bool run_forward(Forward, int64_t time, int64_t batch, StepMask, Team&);
bool run_backward(Backward, int64_t time, int64_t batch, StepMask, Team&);

// Threads that this much work is worth.
int threads_for(double operations, int available);
double operations_of(const Layer& layer, int64_t time, int64_t batch);

}  // namespace jaxrnn
