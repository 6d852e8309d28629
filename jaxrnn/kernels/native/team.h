// Fork and join over threads that may or may not come.
//
// The caller works itself, and never waits for a share that no thread has begun: were every
// thread of the pool busy elsewhere, the caller would do all of the work. A helper that
// comes late finds the team closed. So no number of calls at once can wait for each other.
#pragma once

#include <atomic>
#include <memory>

#include "problem.h"

namespace jaxrnn {

class OpenTeam : public Team {
 public:
  static constexpr int kMaxShares = 256;
  explicit OpenTeam(int size);  // of at most that many
  // What a helper runs, on a thread of the pool; returns when the team is closed.
  void help();
  // No share is handed out any more, and no helper is inside one.
  void close() { closed_.store(true, std::memory_order_release); }

 private:
  static void run_shares(Team* self, int shares, void (*fn)(void*, int), void* context);
  void take_shares(uint64_t epoch, int shares, void (*fn)(void*, int), void* context,
                   int first);

  // Odd while a job is written, even when it can be read.
  alignas(64) std::atomic<uint64_t> epoch_{0};
  std::atomic<bool> closed_{false};
  std::atomic<void (*)(void*, int)> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> shares_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> helpers_{0};
  alignas(64) std::atomic<uint64_t> claimed_[kMaxShares] = {};
};

}  // namespace jaxrnn
