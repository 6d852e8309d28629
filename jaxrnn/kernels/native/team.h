// Fork and join over the threads of a pool, some of which may be busy with other calls.
//
// The caller takes shares of the work as its helpers do, and waits only for shares that a
// helper has begun. If all threads of the pool are busy, the caller does all of the work, and
// a helper that comes late finds the team closed. So calls cannot deadlock, however many run at
// once.
#pragma once

#include <atomic>
#include <memory>

#include "problem.h"

namespace jaxrnn {

class OpenTeam : public Team {
 public:
  static constexpr int kMaxShares = 256;
  explicit OpenTeam(int size);  // at most kMaxShares
  // Takes shares, on a thread of the pool; returns when the team is closed.
  void help();
  // Sends the helpers away. Call it after the last `run`, when no share is being worked on.
  void close() { closed_.store(true, std::memory_order_release); }

 private:
  static void run_shares(Team* self, int shares, void (*fn)(void*, int), void* context);
  void take_shares(uint64_t epoch, int shares, void (*fn)(void*, int), void* context,
                   int first);

  // The number of the job: odd while the job is written, even when helpers can read it.
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
