#include "host.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "team.h"
#include "workspace.h"

namespace jaxrnn {

#ifdef JAXRNN_X86
namespace avx512 {
extern const Kernels kernels;
}
namespace avx2 {
extern const Kernels kernels;
}
#endif
namespace portable {
extern const Kernels kernels;
}

const Kernels* kernels_named(const char* name) {
#ifdef JAXRNN_X86
  __builtin_cpu_init();
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 =
      has_avx2 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw");
  if (has_avx512 && !std::strcmp(name, "avx512")) return &avx512::kernels;
  if (has_avx2 && !std::strcmp(name, "avx2")) return &avx2::kernels;
#endif
  return std::strcmp(name, "portable") ? nullptr : &portable::kernels;
}

const Kernels& best_kernels() {
  static const Kernels* best = [] {
    const char* wanted = std::getenv("JAXRNN_ISA");
    if (const Kernels* found = wanted ? kernels_named(wanted) : nullptr) return found;
    for (const char* name : {"avx512", "avx2"})
      if (const Kernels* found = kernels_named(name)) return found;
    return kernels_named("portable");
  }();
  return *best;
}

namespace {

// A `Rows` and the memory that it points to.
struct Plan {
  std::vector<int32_t> order, active;
  std::vector<int64_t> start;
  Rows rows;
};

// Where the valid steps of all sequences are. If they are all at the start or all at the end, a
// step does not visit the sequences that skip it. Otherwise, or if a skipped step has a reset,
// every step visits all sequences, and a sequence that skips the step keeps its state.
enum class Valid { everywhere, at_start, at_end, anywhere };

Valid place_of(const StepMask& mask, int64_t time, int64_t batch) {
  const uint8_t* valid = mask.valid;
  if (!valid) return Valid::everywhere;
  for (int64_t k = 0; mask.reset && k < time * batch; ++k)
    if (mask.reset[k] && !valid[k]) return Valid::anywhere;
  bool falling = true, rising = true;
  for (int64_t k = batch; k < time * batch; ++k) {
    const bool before = valid[k - batch], now = valid[k];
    falling &= now <= before;
    rising &= now >= before;
  }
  return falling ? Valid::at_start : rising ? Valid::at_end : Valid::anywhere;
}

// Sorts the sequences from long to short and deals them to the groups like cards, so that each
// group has long and short ones.
Plan plan_rows(int64_t time, int64_t batch, int64_t groups, StepMask mask) {
  Plan plan;
  const Valid place = place_of(mask, time, batch);
  const bool leave_out = place == Valid::at_start || place == Valid::at_end;
  std::vector<int64_t> steps(batch, time);
  for (int64_t b = 0; leave_out && b < batch; ++b) {
    steps[b] = 0;
    for (int64_t t = 0; t < time; ++t) steps[b] += mask.valid[t * batch + b] != 0;
  }
  std::vector<int32_t> sorted(batch);
  std::iota(sorted.begin(), sorted.end(), 0);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](int32_t a, int32_t b) { return steps[a] > steps[b]; });
  plan.start.assign(1, 0);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = plan.start.back();
    for (int64_t i = group; i < batch; i += groups) plan.order.push_back(sorted[i]);
    int64_t running = plan.order.size() - first;
    plan.start.push_back(first + running);
    const size_t base = plan.active.size();
    plan.active.resize(base + time);
    for (int64_t t = 0; t < time; ++t) {  // a sequence of t steps or fewer has ended
      while (running > 0 && steps[plan.order[first + running - 1]] <= t) --running;
      plan.active[base + (place == Valid::at_end ? time - 1 - t : t)] = running;
    }
  }
  plan.rows = {time,          batch, groups, plan.order.data(), plan.start.data(),
               plan.active.data(), mask.valid, mask.reset};
  return plan;
}

// Two environment variables override the rules below, to measure them: JAXRNN_SPLIT (0 or 1)
// and JAXRNN_BLOCK, the (time step, sequence) pairs in a block. Users need neither.
int64_t env_or(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : otherwise;
}

// Whether threads share the units. If not, each thread has its own sequences and reads all of U
// at every step, which pays off if it has enough sequences. If so, each thread reads a part of
// U, and all threads wait for each other at every step.
bool split_units(const Layer& layer, int64_t batch, int threads) {
  if (threads == 1) return false;
  const int64_t size = layer.is_double ? 8 : 4;
  const int64_t u = layer.hidden * layer.hidden * layer.cell->gates * size;
  const int64_t rows = batch / threads;
  if (!layer.cell->has_u) return rows < 1;
  const int64_t forced = env_or("JAXRNN_SPLIT", -1);
  if (forced >= 0) return forced;
  return rows < 4 || (u > (1 << 20) && rows < 24);
}

template <class Problem>
bool run_pass(Problem f, int64_t time, int64_t batch, StepMask mask, Team& team,
              size_t (*pass)(const Problem&, const Rows&, Team&, void*)) {
  f.split_units = split_units(f, batch, team.size);
  const int64_t groups = f.split_units ? 1 : std::min<int64_t>(team.size, batch);
  f.block = env_or("JAXRNN_BLOCK", 512);
  const Plan plan = plan_rows(time, batch, groups, mask);
  Workspace memory(pass(f, plan.rows, team, nullptr));
  if (!memory.data()) return false;
  pass(f, plan.rows, team, memory.data());
  return true;
}

}  // namespace

namespace {

// Writes zeros to the residuals of skipped steps. No kernel reads them, but they are results of
// the program, in which a check for NaN would find whatever the memory held.
void clear_skipped(const Forward& f, int64_t time, int64_t batch, StepMask mask) {
  const int64_t bytes = f.hidden * (f.is_double ? sizeof(double) : sizeof(float));
  auto clear = [&](void* kept, int64_t k, int64_t size) {
    if (kept) std::memset(static_cast<char*>(kept) + k * size, 0, size);
  };
  for (int64_t k = 0; k < time * batch; ++k) {
    if (mask.valid[k]) continue;
    clear(f.cs, k, bytes);
    clear(f.saved, k, bytes * f.cell->saved);
  }
}

}  // namespace

bool run_forward(Forward f, int64_t time, int64_t batch, StepMask mask, Team& team) {
  const auto pass = f.cell->forward[f.is_double];
  if (!run_pass(f, time, batch, mask, team, pass)) return false;
  if (mask.valid) clear_skipped(f, time, batch, mask);
  return true;
}

bool run_backward(Backward f, int64_t time, int64_t batch, StepMask mask, Team& team) {
  return run_pass(f, time, batch, mask, team, f.cell->backward[f.is_double]);
}

int threads_for(double operations, int available) {
  // In the microseconds that a helper takes to arrive, the caller does 100,000s of operations.
  const double worth = std::min(operations / 1e6, double{OpenTeam::kMaxShares});
  return std::max(1, std::min(available, static_cast<int>(worth)));
}

double operations_of(const Layer& layer, int64_t time, int64_t batch) {
  const double depth = layer.inputs + (layer.cell->has_u ? layer.hidden : 8) + 16;
  return 2.0 * time * batch * layer.cell->gates * layer.hidden * depth;
}

}  // namespace jaxrnn
