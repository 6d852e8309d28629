// The kernels as XLA sees them: handlers of its foreign function interface, and a few plain
// functions for Python's ctypes.
#include <memory>
#include <string>

#include "host.h"
#include "team.h"
#include "workspace.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace jaxrnn {
namespace {

// The threads of XLA's own pool that one call may use, for as long as this lives.
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

// Arguments, or results, in their order.
template <class Remaining>
class Reader {
 public:
  explicit Reader(Remaining& all) : all_(all) {}

  ffi::AnyBuffer next() {
    if constexpr (std::is_same_v<Remaining, ffi::RemainingRets>) {
      return **all_.template get<ffi::AnyBuffer>(index_++);
    } else {
      return *all_.template get<ffi::AnyBuffer>(index_++);
    }
  }
  // Null for an empty array: what is not given, or not wanted.
  void* data() {
    ffi::AnyBuffer buffer = next();
    return buffer.element_count() ? buffer.untyped_data() : nullptr;
  }
  // A result that will be written for the first time.
  void* fresh() {
    ffi::AnyBuffer buffer = next();
    prefer_huge_pages(buffer.untyped_data(), buffer.size_bytes());
    return buffer.element_count() ? buffer.untyped_data() : nullptr;
  }

 private:
  Remaining& all_;
  size_t index_ = 0;
};

struct Shape {
  int64_t time, batch;
};

bool has_c(const Layer& layer) {
  return layer.kind == CellKind::lstm || layer.kind == CellKind::lstm_coupled;
}

bool has_b_n(const Layer& layer) { return layer.kind == CellKind::gru_after; }

// x, h0, [c0], start_h, [start_c], w, u, b, [b_n]: the order in `_native.py`.
template <class Args>
Shape read_layer(Reader<Args>& in, int64_t kind, Layer& layer) {
  layer.kind = static_cast<CellKind>(kind);
  ffi::AnyBuffer x = in.next();
  layer.x = x.untyped_data();
  layer.is_double = x.element_type() == ffi::F64;
  ffi::AnyBuffer h0 = in.next();
  layer.h0 = h0.untyped_data();
  layer.inputs = x.dimensions()[2];
  layer.hidden = h0.dimensions()[1];
  layer.c0 = has_c(layer) ? in.data() : nullptr;
  layer.start_h = in.data();
  layer.start_c = has_c(layer) ? in.data() : nullptr;
  layer.w = in.data();
  layer.u = in.data();
  layer.b = in.data();
  layer.b_n = has_b_n(layer) ? in.data() : nullptr;
  return {x.dimensions()[0], x.dimensions()[1]};
}

template <class Args>
Marks read_marks(Reader<Args>& in) {
  const void* valid = in.data();
  return {static_cast<const uint8_t*>(valid), static_cast<const uint8_t*>(in.data())};
}

bool has_saved(const Layer& layer) { return layer.kind < CellKind::elman_tanh; }

ffi::Error done(bool had_memory) {
  return had_memory ? ffi::Error::Success()
                    : ffi::Error(ffi::ErrorCode::kResourceExhausted,
                                 "jaxrnn: no memory for the workspace of Fused()");
}

ffi::Error forward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
                   int64_t kind, bool residuals) {
  Reader<ffi::RemainingArgs> in(args);
  Reader<ffi::RemainingRets> out(rets);
  Forward f{};
  const Shape shape = read_layer(in, kind, f);
  const Marks marks = read_marks(in);
  f.ys = out.fresh();
  f.h = out.data();
  f.c = has_c(f) ? out.data() : nullptr;
  f.cs = residuals && has_c(f) ? out.fresh() : nullptr;
  f.saved = residuals && has_saved(f) ? out.fresh() : nullptr;
  PoolTeam team(pool, operations_of(f, shape.time, shape.batch));
  return done(run_forward(best_kernels(), f, shape.time, shape.batch, marks, *team));
}

ffi::Error backward(ffi::ThreadPool pool, ffi::RemainingArgs args,
                    ffi::RemainingRets rets, int64_t kind) {
  Reader<ffi::RemainingArgs> in(args);
  Reader<ffi::RemainingRets> out(rets);
  Backward f{};
  const Shape shape = read_layer(in, kind, f);
  const Marks marks = read_marks(in);
  f.ys = in.data();
  f.cs = has_c(f) ? in.data() : nullptr;
  f.saved = has_saved(f) ? in.data() : nullptr;
  f.d_ys = in.data();
  f.d_h = in.data();
  f.d_c = has_c(f) ? in.data() : nullptr;
  f.d_x = out.fresh();
  f.d_h0 = out.data();
  f.d_c0 = has_c(f) ? out.data() : nullptr;
  f.d_start_h = out.data();
  f.d_start_c = has_c(f) ? out.data() : nullptr;
  f.d_w = out.fresh();
  f.d_u = out.fresh();
  f.d_b = out.data();
  f.d_b_n = has_b_n(f) ? out.data() : nullptr;
  PoolTeam team(pool, 2 * operations_of(f, shape.time, shape.batch));
  return done(run_backward(best_kernels(), f, shape.time, shape.batch, marks, *team));
}

ffi::Error linear(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b,
                  ffi::AnyBuffer h0, ffi::Result<ffi::AnyBuffer> hs, bool cuts) {
  const int64_t width = h0.element_count(), time = a.element_count() / width;
  prefer_huge_pages(hs->untyped_data(), hs->size_bytes());
  const Linear f{a.element_type() == ffi::F64, time, width, a.untyped_data(),
                 b.untyped_data(), h0.untyped_data(), hs->untyped_data(), cuts};
  PoolTeam team(pool, 8.0 * time * width);
  best_kernels().linear(f, *team);
  return ffi::Error::Success();
}

ffi::Error linear_backward(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer hs,
                           ffi::AnyBuffer h0, ffi::AnyBuffer d_hs,
                           ffi::Result<ffi::AnyBuffer> d_a,
                           ffi::Result<ffi::AnyBuffer> d_b,
                           ffi::Result<ffi::AnyBuffer> d_h0, bool cuts) {
  const int64_t width = h0.element_count(), time = a.element_count() / width;
  for (auto* out : {&d_a, &d_b})
    prefer_huge_pages((*out)->untyped_data(), (*out)->size_bytes());
  const LinearBackward f{a.element_type() == ffi::F64,
                         time,
                         width,
                         a.untyped_data(),
                         hs.untyped_data(),
                         h0.untyped_data(),
                         d_hs.untyped_data(),
                         d_a->untyped_data(),
                         d_b->untyped_data(),
                         d_h0->untyped_data(),
                         cuts};
  PoolTeam team(pool, 16.0 * time * width);
  best_kernels().linear_backward(f, *team);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jaxrnn

#pragma GCC visibility push(default)  // of a library that hides everything else

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
// Raised whenever arguments change, so that a library that was left behind is refused.
int jaxrnn_interface() { return 3; }
const char* jaxrnn_instruction_set() {
  return jaxrnn::best_kernels().name;
}
size_t jaxrnn_workspace_kept() { return jaxrnn::workspace_kept(); }
void jaxrnn_workspace_limit(size_t bytes) { jaxrnn::workspace_limit(bytes); }
void jaxrnn_workspace_release() { jaxrnn::workspace_release(); }
}

#pragma GCC visibility pop
