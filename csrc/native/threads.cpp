#include "threads.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace kacflow {
namespace {

/// Pieces that threads take in turn: whoever is free takes the next, so a thread that the system
/// delays costs one piece and not its whole share.
struct Range {
  long long n, piece;
  RangeFunction work;
  const void* job;
  std::atomic<long long> next{0};

  void take_all() {
    for (;;) {
      const long long begin = next.fetch_add(piece, std::memory_order_relaxed);
      if (begin >= n) return;
      work(job, begin, std::min(n, begin + piece));
    }
  }
};

void take_all(void* range) { static_cast<Range*>(range)->take_all(); }

#if defined(__unix__) || defined(__APPLE__)
std::atomic<bool> g_forked{false};

const bool g_fork_watched = [] {
  return pthread_atfork(nullptr, nullptr, [] { g_forked = true; }) == 0;
}();

// The entry point that GCC's and LLVM's OpenMP runtimes share: run fn(data) on a team of threads.
using Team = void (*)(void (*fn)(void*), void* data, unsigned threads, unsigned flags);

Team openmp_team() {
  static std::atomic<Team> found{nullptr};
  if (g_forked || !g_fork_watched) return nullptr;
  Team team = found.load(std::memory_order_relaxed);
  if (!team) {  // asked again on every call: torch may be imported after kacflow_core
    team = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    found.store(team, std::memory_order_relaxed);
  }
  return team;
}
#else
using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);
Team openmp_team() { return nullptr; }
#endif

}  // namespace

void parallel_for(long long n, long long grain, int threads, RangeFunction work, const void* job) {
  static const int most = std::max(64, static_cast<int>(std::thread::hardware_concurrency()));
  const long long useful = std::max<long long>(1, n / grain);
  const int team_size = static_cast<int>(std::min<long long>(std::clamp(threads, 1, most), useful));
  if (team_size == 1) {
    if (n > 0) work(job, 0, n);
    return;
  }
  const long long eighth = n / (8 * team_size);
  Range range{n, std::max({1LL, grain / 4, eighth - eighth % 64}), work, job};
  if (const Team team = openmp_team()) {
    team(take_all, &range, static_cast<unsigned>(team_size), 0);
    return;
  }
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(team_size - 1));
  try {
    for (int i = 1; i < team_size; ++i) others.emplace_back(take_all, &range);
  } catch (const std::system_error&) {
    // No more threads to be had from the system: those that started, and this one, do the work.
  }
  range.take_all();
  for (std::thread& thread : others) thread.join();
}

const char* thread_source() { return openmp_team() ? "openmp" : "std::thread"; }

}  // namespace kacflow
