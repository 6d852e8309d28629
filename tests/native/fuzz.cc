// Calls the handlers as XLA does, with call frames built by hand. Some calls are valid; in the
// others, something is wrong, from one dimension to all arguments. Buffers have exactly the
// length that their dimensions say. The process ends at the first bad access, which a sanitizer
// finds, or if a valid call is refused. Prints how many calls were valid, how many succeeded
// and how many were refused.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#define JAXRNN_ISA portable
#define JAXRNN_VECTOR_BYTES 16
#include "ffi.cc"
#include "host.cc"
#include "kernel.cc"
#include "team.cc"
#include "workspace.cc"

struct XLA_FFI_Error {
  XLA_FFI_Error_Code code;
  std::string message;
};

namespace {

using namespace jaxrnn;

std::mt19937_64 random_bits(7);

int64_t below(int64_t count) { return static_cast<int64_t>(random_bits() % count); }
bool chance(int of) { return below(of) == 0; }
template <class T>
T one_of(std::initializer_list<T> all) {
  return all.begin()[below(static_cast<int64_t>(all.size()))];
}

struct Buffer {
  XLA_FFI_DataType type;
  std::vector<int64_t> dims;
};

// A call: its handler, attributes and buffers, without the memory of the buffers.
struct Call {
  std::string handler;
  std::vector<Buffer> args, rets;
  int64_t cell = 0;
  bool flag = false;  // `residuals` of forward, `cuts` of linear recurrences
};

const XLA_FFI_DataType kTypes[] = {
    XLA_FFI_DataType_PRED, XLA_FFI_DataType_S8,  XLA_FFI_DataType_S32,  XLA_FFI_DataType_S64,
    XLA_FFI_DataType_U8,   XLA_FFI_DataType_F16, XLA_FFI_DataType_BF16, XLA_FFI_DataType_F32,
    XLA_FFI_DataType_F64,  XLA_FFI_DataType_C64, XLA_FFI_DataType_S4,   XLA_FFI_DataType_TOKEN};

int64_t any_size() {
  return one_of<int64_t>({0, 1, 2, 3, 4, 5, 7, 12, 33, -1, int64_t{1} << 31, int64_t{1} << 33,
                          int64_t{1} << 62, INT64_MAX, INT64_MIN});
}

Call valid_layer(bool backward) {
  Call call;
  call.handler = backward ? "backward" : "forward";
  call.cell = below(best_kernels().cell_count);
  call.flag = chance(2);
  const CellKernel& cell = best_kernels().cells[call.cell];
  const auto real = one_of({XLA_FFI_DataType_F32, XLA_FFI_DataType_F64});
  const int64_t T = 1 + below(5), B = chance(20) ? 0 : 1 + below(9), I = 1 + below(6),
                H = chance(4) ? 1 + below(40) : 1 + below(6), GH = cell.gates * H;
  auto add = [&](std::vector<Buffer>& to, std::vector<int64_t> dims) {
    to.push_back({real, dims});
  };
  const bool has_c = cell.states == 2;
  add(call.args, {T, B, I});
  for (int i = 0; i < cell.states; ++i) add(call.args, {B, H});
  for (int i = 0; i < cell.states; ++i) add(call.args, {H});
  add(call.args, {I, GH});
  if (cell.has_u) add(call.args, {H, GH});
  add(call.args, {GH});
  for (int i = 0; i < cell.vectors; ++i) add(call.args, {H});
  const std::vector<Buffer> operands = call.args;
  for (int mark = 0; mark < 2; ++mark)
    call.args.push_back({XLA_FFI_DataType_PRED, chance(2) ? std::vector<int64_t>{0, 0}
                                                          : std::vector{T, B}});
  if (!backward) {
    add(call.rets, {T, B, H});
    for (int i = 0; i < cell.states; ++i) add(call.rets, {B, H});
  }
  auto& kept = backward ? call.args : call.rets;
  if (backward) add(kept, {T, B, H});
  if ((backward || call.flag) && has_c) add(kept, {T, B, H});
  if ((backward || call.flag) && cell.saved) add(kept, {T, B, cell.saved * H});
  if (!backward) return call;
  add(call.args, {T, B, H});
  for (int i = 0; i < cell.states; ++i) add(call.args, {B, H});
  call.rets = operands;
  if (chance(2)) call.rets[0].dims = {0};
  if (chance(2))
    for (size_t i = 1 + 2 * cell.states; i < call.rets.size(); ++i) call.rets[i].dims = {0};
  return call;
}

Call valid_linear(bool backward) {
  Call call;
  call.handler = backward ? "linear_backward" : "linear";
  call.flag = chance(2);
  const auto real = one_of({XLA_FFI_DataType_F32, XLA_FFI_DataType_F64});
  Buffer state{real, {}};
  for (int64_t axes = below(4); axes > 0; --axes) state.dims.push_back(below(8));
  Buffer steps = state;
  steps.dims.insert(steps.dims.begin(), below(6));
  call.args = {steps, steps, state};
  call.rets = {steps};
  if (backward) {
    call.args.push_back(steps);
    call.rets = {steps, steps, state};
  }
  return call;
}

void spoil(Buffer& buffer) {
  const int how = static_cast<int>(below(4));
  if (how == 0) {
    const auto before = buffer.type;
    while (buffer.type == before) buffer.type = kTypes[below(std::size(kTypes))];
  } else if (how == 1) {
    buffer.dims.push_back(1 + below(3));
  } else if (how == 2 && !buffer.dims.empty()) {
    buffer.dims.pop_back();
  } else if (!buffer.dims.empty()) {
    int64_t& dim = buffer.dims[below(buffer.dims.size())];
    dim = chance(2) ? dim + one_of<int64_t>({-1, 1, 2, 8}) : any_size();
  }
}

Buffer nonsense() {
  Buffer buffer{kTypes[below(std::size(kTypes))], {}};
  if (chance(2)) buffer.type = XLA_FFI_DataType_F32;
  for (int64_t rank = below(5); rank > 0; --rank) buffer.dims.push_back(any_size());
  return buffer;
}

// Makes something wrong in a valid call. By chance the call may still be valid afterwards.
void spoil(Call& call) {
  auto& list = chance(3) ? call.rets : call.args;
  const int how = static_cast<int>(below(10));
  if (how == 0) {
    list.pop_back();
  } else if (how == 1) {
    list.push_back(chance(2) ? list.back() : nonsense());
  } else if (how == 2) {
    call.cell = chance(2) ? below(2 * best_kernels().cell_count) : any_size();
  } else if (how == 3) {
    call.flag = !call.flag;
  } else if (how == 4) {
    std::swap(list[below(list.size())], list[below(list.size())]);
  } else if (how == 5) {
    for (Buffer& buffer : call.args) buffer = nonsense();
  } else if (how == 6) {
    list.clear();
  } else {
    spoil(list[below(list.size())]);
  }
}

int64_t width_of(XLA_FFI_DataType type) {
  switch (type) {
    case XLA_FFI_DataType_PRED:
    case XLA_FFI_DataType_S4:
    case XLA_FFI_DataType_S8:
    case XLA_FFI_DataType_U8: return 1;
    case XLA_FFI_DataType_F16:
    case XLA_FFI_DataType_BF16: return 2;
    case XLA_FFI_DataType_S32:
    case XLA_FFI_DataType_F32: return 4;
    default: return 8;
  }
}

// The functions of XLA that the handlers call.
XLA_FFI_Error* create_error(XLA_FFI_Error_Create_Args* args) {
  return new XLA_FFI_Error{args->errc, args->message};
}
void get_message(XLA_FFI_Error_GetMessage_Args* args) {
  args->message = args->error->message.c_str();
}
void destroy_error(XLA_FFI_Error_Destroy_Args* args) { delete args->error; }
// Helpers come too late: their tasks are kept until the call is over.
std::vector<XLA_FFI_ThreadPool_Schedule_Args> scheduled;
XLA_FFI_Error* schedule(XLA_FFI_ThreadPool_Schedule_Args* args) {
  scheduled.push_back(*args);
  return nullptr;
}
XLA_FFI_Error* thread_count(XLA_FFI_ThreadPool_NumThreads_Args* args) {
  *args->num_threads = one_of<int64_t>({0, 1, 2, 5, 1000});
  return nullptr;
}

XLA_FFI_Api make_api() {
  XLA_FFI_Api api{};
  api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
  api.api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR,
                     XLA_FFI_API_MINOR};
  api.XLA_FFI_Error_Create = create_error;
  api.XLA_FFI_Error_GetMessage = get_message;
  api.XLA_FFI_Error_Destroy = destroy_error;
  api.XLA_FFI_ThreadPool_Schedule = schedule;
  api.XLA_FFI_ThreadPool_NumThreads = thread_count;
  return api;
}

// The buffers of a call frame, with as much memory as their dimensions say, or without memory
// if that would be negative or more than 1 MiB.
struct Memory {
  std::vector<XLA_FFI_Buffer> buffers;
  std::vector<void*> pointers;
  std::vector<std::unique_ptr<char[]>> owned;

  explicit Memory(std::vector<Buffer>& all) {
    for (Buffer& buffer : all) {
      int64_t bytes = width_of(buffer.type);
      for (int64_t dim : buffer.dims)
        if (dim < 0 || __builtin_mul_overflow(bytes, dim, &bytes) || bytes > (1 << 20))
          bytes = 0;
      owned.emplace_back(new char[bytes]);
      // random bytes: masks also have values besides 0 and 1, and numbers are not all finite
      for (int64_t i = 0; i < bytes; ++i) owned.back()[i] = static_cast<char>(below(256));
      buffers.push_back({XLA_FFI_Buffer_STRUCT_SIZE, nullptr, buffer.type,
                         owned.back().get(), static_cast<int64_t>(buffer.dims.size()),
                         buffer.dims.data()});
    }
    for (XLA_FFI_Buffer& buffer : buffers) pointers.push_back(&buffer);
  }
};

// Runs a call. Returns the message of the error, or an empty string if the call succeeded.
std::string run(Call call) {
  static const XLA_FFI_Api api = make_api();
  const bool forward = call.handler == "forward", backward = call.handler == "backward";
  Memory args(call.args), rets(call.rets);
  std::vector<XLA_FFI_ArgType> arg_types(args.buffers.size(), XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> ret_types(rets.buffers.size(), XLA_FFI_RetType_BUFFER);
  XLA_FFI_Scalar cell{XLA_FFI_DataType_S64, &call.cell};
  XLA_FFI_Scalar flag{XLA_FFI_DataType_PRED, &call.flag};
  XLA_FFI_ByteSpan cell_name{"cell", 4}, residuals_name{"residuals", 9}, cuts_name{"cuts", 4};
  XLA_FFI_AttrType attr_types[] = {XLA_FFI_AttrType_SCALAR, XLA_FFI_AttrType_SCALAR};
  const bool layer = forward || backward;
  XLA_FFI_ByteSpan* names[] = {layer ? &cell_name : &cuts_name, &residuals_name};
  void* attrs[] = {layer ? &cell : &flag, &flag};
  XLA_FFI_CallFrame frame{};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api;
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, static_cast<int64_t>(args.pointers.size()),
                arg_types.data(), args.pointers.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, static_cast<int64_t>(rets.pointers.size()),
                ret_types.data(), rets.pointers.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, forward ? 2 : 1,
                 attr_types, names, attrs};
  XLA_FFI_Error* error = forward    ? jaxrnn_forward(&frame)
                         : backward ? jaxrnn_backward(&frame)
                         : call.handler == "linear" ? jaxrnn_linear(&frame)
                                                    : jaxrnn_linear_backward(&frame);
  for (auto& late : scheduled) late.task(late.data);
  scheduled.clear();
  std::string words = error ? error->message : "";
  delete error;
  return words;
}

void require(bool right, const std::string& what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what.c_str());
  std::abort();
}

}  // namespace

int main(int count, char** arguments) {
  const int calls = count > 1 ? std::atoi(arguments[1]) : 20000;
  int succeeded = 0, refused = 0, valid = 0;
  for (int i = 0; i < calls; ++i) {
    const bool backward = chance(2);
    Call call = chance(4) ? valid_linear(backward) : valid_layer(backward);
    const bool untouched = chance(5);
    if (!untouched) spoil(call);
    const std::string words = run(call);
    require(!untouched || words.empty(), "a valid call is refused: " + words);
    require(words.size() != 1, "an error without words");
    valid += untouched;
    words.empty() ? ++succeeded : ++refused;
  }
  std::printf("%d %d %d\n", valid, succeeded, refused);
}
