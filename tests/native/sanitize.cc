// Runs the kernels under a sanitizer, without Python: every kind of mask, with awkward sizes,
// on buffers of exactly the right length, with teams of one and three threads, and from several
// threads at once. The sanitizer ends the process at the first error. Prints the names of the
// cells that ran.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <thread>
#include <vector>

#define JAXRNN_ISA portable
#define JAXRNN_VECTOR_BYTES 16
#include "host.cc"
#include "linear.h"
#include "table.h"
#include "team.cc"
#include "workspace.cc"

namespace jaxrnn::portable {

// The kernels for float also take the places of the kernels for double, which would double the
// time to compile.
extern const Kernels kernels;
const Kernels kernels{"portable", table<float, float>.cells, count_cells(), linear<float>,
                      linear_backward<float>};

}  // namespace jaxrnn::portable

namespace {

using namespace jaxrnn;
using Array = std::vector<float>;

// Which steps the mask marks as valid. Every mask also has resets; `nowhere` means no mask.
enum class Marked { nowhere, at_start, at_end, anywhere };

struct Case {
  const CellKernel* cell;
  int64_t time, batch, inputs, hidden;
  int threads;
  Marked mask;
};

// The content of padding and of memory that has not been written. A kernel that reads it has
// NaN in its results.
constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();
Array unwritten(int64_t count) { return Array(count, kUnwritten); }

Array filled(int64_t count, int seed) {
  Array a(count);
  for (int64_t i = 0; i < count; ++i) a[i] = std::sin(0.7f * i + seed);
  return a;
}

void require(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

// Calls fn with a team whose helpers are new threads. One helper comes only after the team is
// closed, on purpose.
template <class Fn>
void with_team(int threads, Fn&& fn) {
  auto team = std::make_shared<OpenTeam>(threads);
  std::vector<std::thread> helpers;
  for (int i = 1; i < threads; ++i) helpers.emplace_back([team] { team->help(); });
  fn(*team);
  team->close();
  helpers.emplace_back([team] { team->help(); });
  for (auto& helper : helpers) helper.join();
}

// Jobs of 0 to 3 shares, one after the other, so that a helper may see any of them.
void jobs_of_every_size() {
  with_team(3, [](Team& team) {
    for (int job = 0; job < 30000; ++job) {
      std::atomic<int> done{0};
      const int shares = job % 4;
      team.run(
          &team, shares,
          [](void* context, int) { ++*static_cast<std::atomic<int>*>(context); }, &done);
      require(done == shares, "a share is lost");
    }
  });
}

Array run(const Case& c) {
  const int64_t T = c.time, B = c.batch, I = c.inputs, H = c.hidden;
  const bool d_x_wanted = c.time != 5;
  const bool has_c = c.cell->states == 2;
  const int64_t G = c.cell->gates, S = c.cell->saved, N = c.cell->vectors;
  Array x = filled(T * B * I, 1);
  const Array h0 = filled(B * H, 2), c0 = filled(B * H, 3),
              start = filled(H, 4), w = filled(I * G * H, 5),
              u = filled(c.cell->has_u ? H * G * H : 0, 6), b = filled(G * H, 7),
              vectors = filled(N * H, 8);
  Array d_ys = filled(T * B * H, 9);
  std::vector<uint8_t> valid(T * B), reset(T * B);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t r = 0; r < B; ++r) {
      valid[t * B + r] = c.mask == Marked::at_start ? t < r % (T + 1)
                         : c.mask == Marked::at_end ? t >= r % (T + 1)
                                                     : (t * 5 + r * 3) % 4 != 0;
      reset[t * B + r] = (t + r) % 3 == 0;
      if (c.mask == Marked::nowhere || valid[t * B + r]) continue;
      const int64_t row = t * B + r;
      std::fill_n(x.begin() + row * I, I, kUnwritten);
      std::fill_n(d_ys.begin() + row * H, H, kUnwritten);
    }
  const StepMask mask = c.mask != Marked::nowhere ? StepMask{valid.data(), reset.data()} : StepMask{};
  Array ys = unwritten(T * B * H), h = unwritten(B * H), c_end = h, cs = ys,
        saved = unwritten(T * B * S * H);
  Array d_x = unwritten(x.size()), d_h0 = h, d_c0 = h, d_start_h = unwritten(H),
        d_start_c = d_start_h, d_w = unwritten(w.size()), d_u = unwritten(u.size()),
        d_b = unwritten(b.size());
  std::vector<Array> d_vectors(N, d_start_h);
  auto describe = [&](Layer& f) {
    f.cell = c.cell;
    f.inputs = I, f.hidden = H;
    f.x = x.data(), f.h0 = h0.data(), f.c0 = has_c ? c0.data() : nullptr;
    f.start_h = f.start_c = start.data();
    f.w = w.data(), f.u = u.data(), f.b = b.data();
    for (int64_t i = 0; i < N; ++i) f.vectors[i] = vectors.data() + i * H;
  };
  with_team(c.threads, [&](Team& team) {
    Forward f{};
    describe(f);
    f.ys = ys.data(), f.h = h.data(), f.c = c_end.data(), f.cs = cs.data();
    f.saved = S ? saved.data() : nullptr;
    require(run_forward(f, T, B, mask, team), "memory, forward");
    Backward g{};
    describe(g);
    g.ys = ys.data(), g.cs = cs.data(), g.saved = saved.data();
    g.d_ys = d_ys.data(), g.d_h = h0.data(), g.d_c = c0.data();
    g.d_x = d_x_wanted ? d_x.data() : nullptr;
    g.d_h0 = d_h0.data(), g.d_c0 = d_c0.data();
    g.d_start_h = d_start_h.data(), g.d_start_c = d_start_c.data();
    g.d_w = d_w.data(), g.d_u = d_u.data(), g.d_b = d_b.data();
    for (int64_t i = 0; i < N; ++i) g.d_vectors[i] = d_vectors[i].data();
    require(run_backward(g, T, B, mask, team), "memory, backward");
  });
  std::vector<const Array*> parts{&ys, &h, &d_h0, &d_start_h, &d_w, &d_u, &d_b};
  if (d_x_wanted) parts.push_back(&d_x);
  if (has_c) parts.insert(parts.end(), {&c_end, &d_c0, &d_start_c});
  for (const Array& d_vector : d_vectors) parts.push_back(&d_vector);
  Array all;
  for (const Array* part : parts) all.insert(all.end(), part->begin(), part->end());
  for (float value : all) require(std::isfinite(value), "what nobody wrote was read");
  return all;
}

bool agree(const Array& a, const Array& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::fabs(a[i] - b[i]) <= 1e-3f * (1 + std::fabs(b[i])))) return false;
  return a.size() == b.size();
}

}  // namespace

int main() {
  jobs_of_every_size();
  const Kernels& all = portable::kernels;
  for (const CellKernel* cell = all.cells; cell < all.cells + all.cell_count; ++cell) {
    for (Marked mask :
         {Marked::nowhere, Marked::at_start, Marked::at_end, Marked::anywhere})
      for (Case c : {Case{cell, 1, 1, 1, 1, 1, mask}, {cell, 6, 12, 5, 33, 1, mask},
                     {cell, 5, 1, 33, 70, 1, mask}}) {
        workspace_limit(0);  // new memory, so that a read of unwritten memory shows
        const Array alone = run(c);
        workspace_limit(size_t{1} << 30);
        c.threads = 3;  // groups of 4 sequences for B = 12; for B = 1, U is shared out by units
        std::vector<std::thread> callers;
        for (int i = 0; i < 3; ++i)
          callers.emplace_back([&] { require(agree(run(c), alone), "threads disagree"); });
        for (auto& caller : callers) caller.join();
      }
    std::printf("%s\n", cell->name);
  }
  workspace_release();
  require(workspace_kept() == 0, "something is kept after a release");
}
