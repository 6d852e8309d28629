// Memory that is kept between calls, so that the operating system does not have to find and
// clear new pages for each call.
#pragma once

#include <cstddef>

namespace jaxrnn {

// A block of memory. When it is destroyed, the memory is kept for a later call, up to a limit.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  void* data() const { return data_; }  // null if there was no memory

 private:
  void* data_;
  size_t bytes_;
};

// The bytes that are kept and not in use.
size_t workspace_kept();
// Sets the most bytes that may be kept; frees all if there are more.
void workspace_limit(size_t bytes);
// Frees all memory that is kept and not in use.
void workspace_release();

// Asks for huge pages for memory that is about to be written for the first time.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace jaxrnn
