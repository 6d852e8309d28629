// Checks a call from XLA: the element type, the rank and every dimension of every buffer.
//
// jaxrnn's Python code makes the same checks first, with better messages. The checks here are
// for calls that bypass it: a stored compiled program, a direct call of `jax.ffi`, a mistake
// in jaxrnn. No array is read or written before all checks have passed.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <type_traits>

#include "workspace.h"
#include "xla/ffi/api/ffi.h"

namespace jaxrnn {

namespace ffi = xla::ffi;

// The most bytes of an array. The size of a workspace, a sum over several arrays, is then far
// below 2^63.
constexpr int64_t kMostBytes = int64_t{1} << 46;
// The largest dimension: indices of sequences are 32-bit integers.
constexpr int64_t kMostSteps = (int64_t{1} << 31) - 1;

// The dimensions of an array: up to three stored here, or a view of a buffer's.
class Dims {
 public:
  Dims(std::initializer_list<int64_t> few) : size_(few.size()) {
    std::copy(few.begin(), few.end(), few_);
  }
  explicit Dims(ffi::AnyBuffer::Dimensions all) : all_(all.begin()), size_(all.size()) {}
  const int64_t* begin() const { return all_ ? all_ : few_; }
  const int64_t* end() const { return begin() + size_; }
  size_t size() const { return size_; }
  bool operator==(const Dims& other) const {
    return std::equal(begin(), end(), other.begin(), other.end());
  }

 private:
  const int64_t* all_ = nullptr;
  int64_t few_[3] = {};
  size_t size_;
};

inline int64_t bytes_each(ffi::DataType type) {
  return type == ffi::F64 ? 8 : type == ffi::F32 ? 4 : 1;
}

// The number of entries; -1 if a dimension is negative or the array exceeds `kMostBytes`.
inline int64_t count_of(Dims dims, int64_t each) {
  int64_t count = 1;
  bool empty = false, fits = true;
  for (int64_t dim : dims) {
    fits &= dim >= 0;
    empty |= dim == 0;
    if (!empty && fits) fits = !__builtin_mul_overflow(count, dim, &count);
  }
  if (!fits || (!empty && count > kMostBytes / each)) return -1;
  return empty ? 0 : count;
}

inline std::string name_of(ffi::DataType type) {
  switch (type) {
    case ffi::F32: return "float32";
    case ffi::F64: return "float64";
    case ffi::F16: return "float16";
    case ffi::BF16: return "bfloat16";
    case ffi::C64: return "complex64";
    case ffi::PRED: return "bool";
    case ffi::S32: return "int32";
    case ffi::U8: return "uint8";
    default: return "XLA's type " + std::to_string(static_cast<int>(type));
  }
}

inline std::string described(ffi::DataType type, Dims dims) {
  std::string text = name_of(type) + '[';
  for (const int64_t& dim : dims)
    text += (&dim == dims.begin() ? "" : ",") + std::to_string(dim);
  return text + ']';
}

// Checks one call and keeps the first error.
class Checks {
 public:
  void fail(const std::string& what) {
    if (problem_.empty()) problem_ = "jaxrnn: " + what;
  }
  bool passed() const { return problem_.empty(); }
  ffi::Error error() const { return ffi::Error::InvalidArgument(problem_); }

  // The data of a buffer of this type and these dimensions; null if it differs or is empty.
  void* array(const char* name, ffi::AnyBuffer given, ffi::DataType type, Dims dims) {
    if (!passed()) return nullptr;
    const Dims has(given.dimensions());
    if (given.element_type() != type || !(has == dims)) {
      fail(std::string(name) + " is " + described(given.element_type(), has) + ", where " +
           described(type, dims) + " is needed");
      return nullptr;
    }
    const int64_t count = count_of(has, bytes_each(type));
    if (count < 0) fail(std::string(name) + " is larger than any array can be");
    if (count > 0 && !given.untyped_data()) fail(std::string(name) + " has no memory");
    return passed() && count ? given.untyped_data() : nullptr;
  }

  void real(const char* name, ffi::AnyBuffer given) {
    const ffi::DataType type = given.element_type();
    if (type != ffi::F32 && type != ffi::F64)
      fail(std::string(name) + " is " + name_of(type) + ", where float32 or float64 is needed");
  }
  void rank(const char* name, ffi::AnyBuffer given, size_t rank, const char* axes) {
    if (given.dimensions().size() != rank)
      fail(std::string(name) + " is " +
           described(given.element_type(), Dims(given.dimensions())) + ", where " + axes +
           " is needed");
  }

 private:
  std::string problem_;
};

// Reads the arguments, or the results, of a call in order.
template <class Remaining>
class Reader {
 public:
  Reader(const Remaining& all, Checks& checks) : all_(all), checks_(checks) {}

  // The next buffer; no value if all have been read.
  std::optional<ffi::AnyBuffer> next(const char* name) {
    if (index_ >= all_.size()) {
      checks_.fail(std::string(name) + " is missing, of " + std::to_string(all_.size()) +
                   kWhat);
      return std::nullopt;
    }
    auto found = all_.template get<ffi::AnyBuffer>(index_++);
    if (!found.has_value()) {
      checks_.fail(std::string(name) + " is not a buffer");
      return std::nullopt;
    }
    if constexpr (kResults) {
      return **found;
    } else {
      return *found;
    }
  }

  void* array(const char* name, ffi::DataType type, Dims dims) {
    const auto buffer = next(name);
    return buffer ? checks_.array(name, *buffer, type, dims) : nullptr;
  }

  // Like `array`, but null for a buffer with the dimensions `none`, by which the caller says
  // that this argument is not given or this result is not wanted.
  void* maybe(const char* name, ffi::DataType type, Dims dims, Dims none) {
    const auto buffer = next(name);
    if (!buffer) return nullptr;
    const bool left_out = Dims(buffer->dimensions()) == none;
    return checks_.array(name, *buffer, type, left_out ? none : dims);
  }

  void end() {
    if (index_ < all_.size())
      checks_.fail(std::to_string(all_.size()) + kWhat + " are given, where " +
                   std::to_string(index_) + " are needed");
  }

 private:
  static constexpr bool kResults = std::is_same_v<Remaining, ffi::RemainingRets>;
  static constexpr const char* kWhat = kResults ? " results" : " arguments";

  const Remaining& all_;
  Checks& checks_;
  size_t index_ = 0;
};

}  // namespace jaxrnn
