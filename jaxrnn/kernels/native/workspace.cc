#include "workspace.h"

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

#include <sys/mman.h>

namespace jaxrnn {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

struct Kept {
  std::mutex mutex;
  std::vector<std::pair<size_t, void*>> blocks;
  size_t bytes = 0;
  size_t limit = size_t{512} << 20;
};

// Never destroyed, since another thread may still be in a call when the process ends.
Kept& kept() {
  static Kept* all = new Kept;
  return *all;
}

size_t rounded(size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  return bytes;  // so that the sanitizer sees an access one byte too far
#endif
  // There are few sizes (2, 4, 6, 8, 12, 16 ... MiB), so that calls of similar sizes can use
  // the same blocks.
  size_t size = kHugePage;
  while (size < bytes) size *= 2;
  const size_t finer = size / 4 * 3;
  return bytes <= finer && finer % kHugePage == 0 ? finer : size;
}

#ifdef __SANITIZE_ADDRESS__
void* map(size_t bytes) { return std::aligned_alloc(64, bytes); }
void unmap(void* data, size_t) { std::free(data); }
#else
void unmap(void* data, size_t bytes) { munmap(data, bytes); }

// Maps one huge page too much and unmaps both ends, so that the block starts at a huge page.
void* map(size_t bytes) {
  void* all = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  const uintptr_t start = reinterpret_cast<uintptr_t>(all);
  const uintptr_t aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  if (aligned > start) munmap(all, aligned - start);
  const uintptr_t end = start + bytes + kHugePage;
  if (end > aligned + bytes)
    munmap(reinterpret_cast<void*>(aligned + bytes), end - aligned - bytes);
  void* data = reinterpret_cast<void*>(aligned);
  prefer_huge_pages(data, bytes);
  return data;
}
#endif

// Takes the smallest kept block that is large enough and at most four times as large as needed;
// null if there is no such block.
void* take(size_t bytes, size_t& size) {
  Kept& all = kept();
  std::lock_guard<std::mutex> lock(all.mutex);
  auto best = all.blocks.end();
  for (auto it = all.blocks.begin(); it != all.blocks.end(); ++it)
    if (it->first >= bytes && it->first <= 4 * bytes &&
        (best == all.blocks.end() || it->first < best->first))
      best = it;
  if (best == all.blocks.end()) return nullptr;
  void* data = best->second;
  size = best->first;
  all.bytes -= size;
  all.blocks.erase(best);
  return data;
}

}  // namespace

Workspace::Workspace(size_t bytes) : bytes_(rounded(bytes)) {
  data_ = take(bytes_, bytes_);
  if (!data_) data_ = map(bytes_);
}

Workspace::~Workspace() {
  if (!data_) return;
  Kept& all = kept();
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    if (all.bytes + bytes_ <= all.limit) {
      all.blocks.emplace_back(bytes_, data_);
      all.bytes += bytes_;
      return;
    }
  }
  unmap(data_, bytes_);
}

size_t workspace_kept() {
  std::lock_guard<std::mutex> lock(kept().mutex);
  return kept().bytes;
}

void workspace_limit(size_t bytes) {
  Kept& all = kept();
  {
    std::lock_guard<std::mutex> lock(all.mutex);
    all.limit = bytes;
    if (all.bytes <= bytes) return;
  }
  workspace_release();
}

void workspace_release() {
  Kept& all = kept();
  std::lock_guard<std::mutex> lock(all.mutex);
  for (auto& [size, data] : all.blocks) unmap(data, size);
  all.blocks.clear();
  all.bytes = 0;
}

void prefer_huge_pages(void* data, size_t bytes) {
#ifdef MADV_HUGEPAGE
  if (bytes < 2 * kHugePage) return;
  const uintptr_t start = reinterpret_cast<uintptr_t>(data);
  const uintptr_t from = (start + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t to = (start + bytes) / kHugePage * kHugePage;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace jaxrnn
