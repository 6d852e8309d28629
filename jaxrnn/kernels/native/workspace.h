// Memory that is kept between calls, so that the operating system need not find and clear
// fresh pages at each one.
#pragma once

#include <cstddef>

namespace jaxrnn {

// A block of memory of its own while it lives; afterwards it is kept for a later call.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  void* data() const { return data_; }  // null: there is no memory

 private:
  void* data_;
  size_t bytes_;
};

// Bytes that are kept and not in use, and the most that may be.
size_t workspace_kept();
void workspace_limit(size_t bytes);
// Gives back what is not in use.
void workspace_release();

// Asks for huge pages for memory that is about to be written for the first time.
void prefer_huge_pages(void* data, size_t bytes);

}  // namespace jaxrnn
