#include "team.h"

#include <sched.h>

namespace jaxrnn {
namespace {

inline void pause(int& spins) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
  // After about as long as a time step may take, another thread may have the core.
  if (++spins > 4096) sched_yield();
}

}  // namespace

OpenTeam::OpenTeam(int size) {
  this->size = size;
  this->run = run_shares;
}

// A thread claims a share by writing the job's epoch over an older one. If that succeeds, the
// job is not over yet, so that the `fn` and `context` that the thread has read are still valid.
void OpenTeam::take_shares(uint64_t epoch, int shares, void (*fn)(void*, int),
                           void* context, int first) {
  for (int i = 0; i < shares; ++i) {
    const int share = (first + i) % shares;
    uint64_t seen = claimed_[share].load(std::memory_order_relaxed);
    if (seen >= epoch || !claimed_[share].compare_exchange_strong(
                             seen, epoch, std::memory_order_acquire))
      continue;
    fn(context, share);
    done_.fetch_add(1, std::memory_order_release);
  }
}

void OpenTeam::run_shares(Team* self, int shares, void (*fn)(void*, int), void* context) {
  auto* team = static_cast<OpenTeam*>(self);
  if (team->size == 1 || shares <= 1) {
    for (int share = 0; share < shares; ++share) fn(context, share);
    return;
  }
  const uint64_t epoch = team->epoch_.load(std::memory_order_relaxed) + 2;
  team->epoch_.store(epoch - 1, std::memory_order_relaxed);
  team->done_.store(0, std::memory_order_relaxed);
  team->fn_.store(fn, std::memory_order_release);
  team->context_.store(context, std::memory_order_release);
  team->shares_.store(shares, std::memory_order_release);
  team->epoch_.store(epoch, std::memory_order_release);
  team->take_shares(epoch, shares, fn, context, 0);
  int spins = 0;
  while (team->done_.load(std::memory_order_acquire) < shares) pause(spins);
}

void OpenTeam::help() {
  const int index = helpers_.fetch_add(1, std::memory_order_relaxed) + 1;
  uint64_t last = 0;
  int spins = 0;
  while (!closed_.load(std::memory_order_acquire)) {
    const uint64_t epoch = epoch_.load(std::memory_order_acquire);
    if (epoch == last || epoch % 2) {
      pause(spins);
      continue;
    }
    auto* fn = fn_.load(std::memory_order_acquire);
    void* context = context_.load(std::memory_order_acquire);
    const int shares = shares_.load(std::memory_order_acquire);
    if (epoch_.load(std::memory_order_relaxed) != epoch) continue;
    spins = 0;
    last = epoch;
    // Each helper starts at another share, the same one in every job, so that the data of the
    // share may still be in its core's cache.
    take_shares(epoch, shares, fn, context, shares * index / size % shares);
  }
}

}  // namespace jaxrnn
