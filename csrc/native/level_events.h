// The loops of the event-by-event simulation: a path at a time, a batch of waiting times at a time.
// Two passes, so that the result takes no memory but its own: one counts the events, the other
// draws the same ones again and writes them.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_EVENTS_H_
#define KACFLOW_NATIVE_LEVEL_EVENTS_H_

#include "../kac/events.h"
#include "level_common.h"

namespace kacflow {
namespace {

/// kBatch waiting times from number `first`, even, on.
template <int kBatch>
void waiting_times(uint64 seed, uint64 path, uint64 first, double a, double* __restrict out) {
  constexpr int kBlocks = kBatch / 2;
  uint32 w0[kBlocks], w1[kBlocks], w2[kBlocks], w3[kBlocks];
  const uint32 block = static_cast<uint32>(1 + first / 2);
  for (int k = 0; k < kBlocks; ++k) {
    const kac::Words w = kac::philox(seed, path, block + static_cast<uint32>(k), kac::kEventStream);
    w0[k] = w.w0;
    w1[k] = w.w1;
    w2[k] = w.w2;
    w3[k] = w.w3;
  }
  for (int k = 0; k < kBlocks; ++k) {
    out[2 * k] = kac::exponential(w0[k], w1[k]) / a;
    out[2 * k + 1] = kac::exponential(w2[k], w3[k]) / a;
  }
}

/// Number of turning times up to t_max.
template <int kBatch>
int64 count_path(uint64 seed, uint64 path, double t_max, double a) {
  double wait[kBatch];
  double t = 0.0;
  for (int64 n = 0;; n += kBatch) {
    waiting_times<kBatch>(seed, path, static_cast<uint64>(n), a, wait);
    for (int m = 0; m < kBatch; ++m) {
      t += wait[m];
      if (!(t <= t_max)) return n + m;
    }
  }
}

/// The first n turning times.
template <int kBatch>
void fill_path(uint64 seed, uint64 path, double a, int64 n, double* out) {
  double wait[kBatch];
  double t = 0.0;
  for (int64 m = 0; m < n; m += kBatch) {
    waiting_times<kBatch>(seed, path, static_cast<uint64>(m), a, wait);
    const int rest = static_cast<int>(smallest(kBatch, n - m));
    for (int k = 0; k < rest; ++k) out[m + k] = t += wait[k];
  }
}

/// f(path, t_max, a) for the paths [begin, end).
template <class F>
void each_path(const EventJob& job, int64 begin, int64 end, F f) {
  double t_max[kBlock], a[kBlock];
  const int64 inner = job.layout.inner;
  const int64 last_row = (end - 1) / inner;
  for (int64 row = begin / inner; row <= last_row; row += kBlock) {
    const int rows = static_cast<int>(smallest(kBlock, last_row + 1 - row));
    load(job.t_max, job.layout, row, rows, t_max);
    load(job.a, job.layout, row, rows, a);
    for (int r = 0; r < rows; ++r) {
      const int64 first = (row + r) * inner;
      const int64 stop = smallest(end, first + inner);
      for (int64 e = first > begin ? first : begin; e < stop; ++e) f(e, t_max[r], a[r]);
    }
  }
}

constexpr int kFew = 16, kMany = 64;  // batches: many events are drawn in longer ones

void run_count_events(const EventJob& job, std::int64_t begin, std::int64_t end) {
  each_path(job, begin, end, [&](int64 e, double t_max, double a) {
    const uint64 path = job.offset + static_cast<uint64>(e);
    job.directions[e] = kac::first_direction(job.seed, path);
    job.counts[e] = a * t_max < kMany ? count_path<kFew>(job.seed, path, t_max, a)
                                      : count_path<kMany>(job.seed, path, t_max, a);
  });
}

void run_fill_events(const EventJob& job, std::int64_t begin, std::int64_t end) {
  each_path(job, begin, end, [&](int64 e, double, double a) {
    const uint64 path = job.offset + static_cast<uint64>(e);
    const int64 n = job.offsets[e + 1] - job.offsets[e];
    double* const out = job.times + job.offsets[e];
    if (n < kMany) {
      fill_path<kFew>(job.seed, path, a, n, out);
    } else {
      fill_path<kMany>(job.seed, path, a, n, out);
    }
  });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_EVENTS_H_
