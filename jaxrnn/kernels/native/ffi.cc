// The functions that the library exports: handlers for XLA's foreign function interface, and a
// few plain C functions for Python's ctypes.
#include <cstring>
#include <memory>
#include <string>
#include <tuple>

#include "checks.h"
#include "host.h"
#include "team.h"

namespace ffi = xla::ffi;

namespace jaxrnn {
namespace {

// The team of one call, with helpers on XLA's own thread pool.
class PoolTeam {
 public:
  PoolTeam(ffi::ThreadPool& pool, double operations)
      : team_(std::make_shared<OpenTeam>(
            threads_for(operations, static_cast<int>(pool.num_threads())))) {
    for (int i = 1; i < team_->size; ++i)
      pool.Schedule([team = team_] { team->help(); });
  }
  ~PoolTeam() { team_->close(); }
  Team& operator*() { return *team_; }

 private:
  std::shared_ptr<OpenTeam> team_;
};

// Reads and checks the arguments and results of a call of a layer; finds its sizes and type.
class LayerCall {
 public:
  LayerCall(const ffi::RemainingArgs& args, const ffi::RemainingRets& rets)
      : in(args, checks), out(rets, checks), rets_(rets) {}

  Checks checks;
  Reader<ffi::RemainingArgs> in;
  Reader<ffi::RemainingRets> out;
  ffi::DataType type = ffi::F32;
  int64_t T = 0, B = 0, I = 0, H = 0;
  StepMask mask{};

  // The arguments come in the order of `_native.py`: x, h0, [c0], start_h, [start_c], w, [u],
  // b, vectors, valid, reset.
  void read(int64_t number, Layer& layer) {
    const Kernels& all = best_kernels();
    if (number < 0 || number >= all.cell_count)
      return checks.fail("there is no cell " + std::to_string(number));
    const CellKernel& cell = all.cells[number];
    layer.cell = &cell;
    const auto x = in.next("x"), h0 = in.next("h0");
    if (!x || !h0 || !sizes(*x, *h0)) return;
    layer.is_double = type == ffi::F64;
    layer.inputs = I;
    layer.hidden = H;
    layer.x = checks.array("x", *x, type, {T, B, I});
    layer.h0 = checks.array("h0", *h0, type, {B, H});
    if (cell.states == 2) layer.c0 = in.array("c0", type, {B, H});
    layer.start_h = in.array("start_h", type, {H});
    if (cell.states == 2) layer.start_c = in.array("start_c", type, {H});
    const int64_t GH = cell.gates * H;
    layer.w = in.array("w", type, {I, GH});
    if (cell.has_u) layer.u = in.array("u", type, {H, GH});
    layer.b = in.array("b", type, {GH});
    for (int64_t i = 0; i < cell.vectors; ++i)
      layer.vectors[i] = in.array(("vector " + std::to_string(i)).c_str(), type, {H});
    mask.valid = mask_of("valid");
    mask.reset = mask_of("reset");
  }

  // Whether all checks have passed and every argument and result has been read.
  bool complete() {
    in.end();
    out.end();
    return checks.passed();
  }
  // Calls fn(data, bytes) for every result.
  template <class Fn>
  void each_result(Fn&& fn) const {
    for (size_t i = 0; i < rets_.size(); ++i) {
      const ffi::AnyBuffer result = **rets_.get<ffi::AnyBuffer>(i);
      fn(result.untyped_data(), result.size_bytes());
    }
  }
  // Prepares the memory of the results. If the batch is empty, sets them to zero (they are sums
  // over the batch, or empty) and returns true: there is nothing to run.
  bool done_without_rows() const {
    each_result(prefer_huge_pages);
    if (B > 0) return false;
    each_result([](void* data, size_t bytes) {
      if (bytes) std::memset(data, 0, bytes);
    });
    return true;
  }

 private:
  bool sizes(ffi::AnyBuffer x, ffi::AnyBuffer h0) {
    checks.real("x", x);
    checks.rank("x", x, 3, "(T, B, I)");
    checks.rank("h0", h0, 2, "(B, H)");
    if (!checks.passed()) return false;
    type = x.element_type();
    T = x.dimensions()[0], B = x.dimensions()[1], I = x.dimensions()[2];
    H = h0.dimensions()[1];
    for (int64_t size : {T, B, I, H})
      if (size > kMostSteps) checks.fail("a dimension of x or h0 is 2^31 or more");
    if (T < 1 || I < 1 || H < 1 || B < 0)
      checks.fail("x is " + described(type, Dims(x.dimensions())) + " and h0 is " +
                  described(type, Dims(h0.dimensions())) +
                  ", where at least one step, one feature and one unit are needed");
    if (!checks.passed()) T = B = I = H = 0;  // no overflow in the sizes of other arrays
    return checks.passed();
  }

  const uint8_t* mask_of(const char* name) {
    return static_cast<const uint8_t*>(in.maybe(name, ffi::PRED, {T, B}, {0, 0}));
  }

  const ffi::RemainingRets& rets_;
};

ffi::Error done(bool had_memory) {
  return had_memory ? ffi::Error::Success()
                    : ffi::Error(ffi::ErrorCode::kResourceExhausted,
                                 "jaxrnn: no memory for the workspace of Fused()");
}

ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                   int64_t number, bool residuals) {
  LayerCall call(args, rets);
  Forward f{};
  call.read(number, f);
  if (!f.cell) return call.checks.error();
  const auto [T, B, H] = std::tuple(call.T, call.B, call.H);
  const CellKernel& cell = *f.cell;
  f.ys = call.out.array("ys", call.type, {T, B, H});
  f.h = call.out.array("h", call.type, {B, H});
  if (cell.states == 2) f.c = call.out.array("c", call.type, {B, H});
  if (cell.states == 2 && residuals) f.cs = call.out.array("cs", call.type, {T, B, H});
  if (cell.saved && residuals)
    f.saved = call.out.array("saved", call.type, {T, B, cell.saved * H});
  if (!call.complete()) return call.checks.error();
  if (call.done_without_rows()) return ffi::Error::Success();
  PoolTeam team(pool, operations_of(f, T, B));
  return done(run_forward(f, T, B, call.mask, *team));
}

// Reads the results of the backward pass. The gradients of the weights are wanted together or
// not at all, as d_w says.
void read_gradients(LayerCall& call, Backward& f) {
  const CellKernel& cell = *f.cell;
  const int64_t T = call.T, B = call.B, I = call.I, H = call.H, GH = cell.gates * H;
  Reader<ffi::RemainingRets>& out = call.out;
  const ffi::DataType type = call.type;
  f.d_x = out.maybe("d_x", type, {T, B, I}, {0});
  f.d_h0 = out.array("d_h0", type, {B, H});
  if (cell.states == 2) f.d_c0 = out.array("d_c0", type, {B, H});
  f.d_start_h = out.array("d_start_h", type, {H});
  if (cell.states == 2) f.d_start_c = out.array("d_start_c", type, {H});
  f.d_w = out.maybe("d_w", type, {I, GH}, {0});
  auto weight = [&](const char* name, Dims dims) {
    return f.d_w ? out.array(name, type, dims) : out.array(name, type, {0});
  };
  if (cell.has_u) f.d_u = weight("d_u", {H, GH});
  f.d_b = weight("d_b", {GH});
  for (int64_t i = 0; i < cell.vectors; ++i)
    f.d_vectors[i] = weight(("the gradient of vector " + std::to_string(i)).c_str(), {H});
}

ffi::Error backward(ffi::ThreadPool pool, ffi::RemainingArgs args,
                    ffi::RemainingRets rets, int64_t number) {
  LayerCall call(args, rets);
  Backward f{};
  call.read(number, f);
  if (!f.cell) return call.checks.error();
  const auto [T, B, H] = std::tuple(call.T, call.B, call.H);
  const CellKernel& cell = *f.cell;
  f.ys = call.in.array("ys", call.type, {T, B, H});
  if (cell.states == 2) f.cs = call.in.array("cs", call.type, {T, B, H});
  if (cell.saved) f.saved = call.in.array("saved", call.type, {T, B, cell.saved * H});
  f.d_ys = call.in.array("d_ys", call.type, {T, B, H});
  f.d_h = call.in.array("d_h", call.type, {B, H});
  if (cell.states == 2) f.d_c = call.in.array("d_c", call.type, {B, H});
  read_gradients(call, f);
  if (!call.complete()) return call.checks.error();
  if (call.done_without_rows()) return ffi::Error::Success();
  PoolTeam team(pool, 2 * operations_of(f, T, B));
  return done(run_backward(f, T, B, call.mask, *team));
}

// Checks the arrays of a linear recurrence: each has the shape of the state, or a time axis
// before that shape.
class LinearCall {
 public:
  LinearCall(ffi::AnyBuffer a, ffi::AnyBuffer h0)
      : type_(a.element_type()), steps_(a.dimensions()), state_(h0.dimensions()) {
    checks.real("a", a);
    if (steps_.size() != state_.size() + 1 ||
        !std::equal(state_.begin(), state_.end(), steps_.begin() + 1))
      checks.fail("a is " + described(type_, steps_) + " and h0 is " +
                  described(h0.element_type(), state_) +
                  ", where a has one axis more, its first");
    if (!checks.passed()) return;
    time = *steps_.begin();
    width = count_of(state_, bytes_each(type_));
  }

  Checks checks;
  int64_t time = 0, width = 0;
  bool is_double() const { return type_ == ffi::F64; }
  void* steps(const char* name, ffi::AnyBuffer given) {
    return checks.array(name, given, type_, steps_);
  }
  void* state(const char* name, ffi::AnyBuffer given) {
    return checks.array(name, given, type_, state_);
  }
  void* fresh(void* data) const {
    if (data) prefer_huge_pages(data, time * width * bytes_each(type_));
    return data;
  }

 private:
  ffi::DataType type_;
  Dims steps_, state_;
};

ffi::Error linear(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                  ffi::AnyBuffer h0, ffi::Result<ffi::AnyBuffer> hs, bool cuts) {
  LinearCall call(a, h0);
  Linear f{call.is_double(),     call.time,           call.width,
           call.steps("a", a),   call.steps("b", b),  call.state("h0", h0),
           call.steps("hs", *hs),  cuts};
  if (!call.checks.passed()) return call.checks.error();
  call.fresh(f.hs);
  PoolTeam team(pool, 8.0 * f.time * f.width);
  best_kernels().linear(f, *team);
  return ffi::Error::Success();
}

ffi::Error linear_backward(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer hs,
                           ffi::AnyBuffer h0, ffi::AnyBuffer d_hs,
                           ffi::Result<ffi::AnyBuffer> d_a,
                           ffi::Result<ffi::AnyBuffer> d_b,
                           ffi::Result<ffi::AnyBuffer> d_h0, bool cuts) {
  LinearCall call(a, h0);
  const LinearBackward f{call.is_double(),
                         call.time,
                         call.width,
                         call.steps("a", a),
                         call.steps("hs", hs),
                         call.state("h0", h0),
                         call.steps("d_hs", d_hs),
                         call.steps("d_a", *d_a),
                         call.steps("d_b", *d_b),
                         call.state("d_h0", *d_h0),
                         cuts};
  if (!call.checks.passed()) return call.checks.error();
  call.fresh(f.d_a);
  call.fresh(f.d_b);
  PoolTeam team(pool, 16.0 * f.time * f.width);
  best_kernels().linear_backward(f, *team);
  return ffi::Error::Success();
}

std::string cells_as_json() {
  std::string text;
  const Kernels& all = best_kernels();
  for (const CellKernel* cell = all.cells; cell < all.cells + all.cell_count; ++cell) {
    auto fact = [&](const char* name, const std::string& value) {
      text += std::string(", \"") + name + "\": " + value;
    };
    text += std::string(text.empty() ? "[" : ", ") + "{\"name\": \"" + cell->name + '"';
    fact("gates", std::to_string(cell->gates));
    fact("states", std::to_string(cell->states));
    fact("saved", std::to_string(cell->saved));
    fact("vectors", std::to_string(cell->vectors));
    fact("has_u", cell->has_u ? "true" : "false");
    text += '}';
  }
  return text + ']';
}

}  // namespace
}  // namespace jaxrnn

#pragma GCC visibility push(default)  // all other symbols are hidden

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxrnn_forward, jaxrnn::forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("cell")
                                  .Attr<bool>("residuals"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxrnn_backward, jaxrnn::backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("cell"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxrnn_linear, jaxrnn::linear,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("cuts"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxrnn_linear_backward, jaxrnn::linear_backward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<bool>("cuts"));

extern "C" {
// Raise this whenever arguments change: Python refuses a library with another number.
int jaxrnn_interface() { return 4; }
const char* jaxrnn_instruction_set() {
  return jaxrnn::best_kernels().name;
}
// The table of cells as a JSON list; the index of a cell is its number in calls.
const char* jaxrnn_cells() {
  static const std::string text = jaxrnn::cells_as_json();
  return text.c_str();
}
size_t jaxrnn_workspace_kept() { return jaxrnn::workspace_kept(); }
void jaxrnn_workspace_limit(size_t bytes) { jaxrnn::workspace_limit(bytes); }
void jaxrnn_workspace_release() { jaxrnn::workspace_release(); }
}

#pragma GCC visibility pop
