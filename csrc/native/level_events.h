// The loops of the event-by-event simulation.  Two passes, so that the result takes no memory but
// its own: one counts the events, the other draws the same ones again and writes them.  Where few
// events are expected lanes are paths, and where many are they are the waiting times of one path;
// the arithmetic of an event is the same.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_EVENTS_H_
#define KACFLOW_NATIVE_LEVEL_EVENTS_H_

#include "../kac/events.h"
#include "level_common.h"

namespace kacflow {
namespace {

constexpr int kFewEvents = 64;  // expected on a path: fewer, and lanes are paths
constexpr int kEventTile = 8;   // turns of a block of paths that are written together

/// A block of consecutive paths.
struct EventBlock {
  int n = 0;
  double t_max[kBlock], a[kBlock];  ///< lanes from n on are past their end
  uint64 counter = 0;
  bool few = true;

  EventBlock(const EventJob& job, int64 e, int64 end) {
    n = static_cast<int>(smallest(kBlock, end - e));
    counter = job.noise.offset + static_cast<uint64>(e);
    const int64 inner = job.layout.inner, row = e / inner;
    const int rows = static_cast<int>((e + n - 1) / inner - row + 1);
    double row_t_max[kBlock], row_a[kBlock];
    load(job.t_max, job.layout, row, rows, row_t_max);
    load(job.a, job.layout, row, rows, row_a);
    int64 left = inner - e % inner;
    double expected = 0.0;
    for (int l = 0, r = 0; l < kBlock; ++l) {
      t_max[l] = l < n ? row_t_max[r] : -1.0;
      a[l] = row_a[r];
      expected += l < n ? a[l] * t_max[l] : 0.0;
      if (--left == 0 && l + 1 < n) {
        ++r;
        left = inner;
      }
    }
    few = expected < static_cast<double>(kFewEvents * n);
  }
};

struct EventWords {
  uint32 w0[kBlock], w1[kBlock], w2[kBlock], w3[kBlock];

  KAC_FN kac::Words at(int l) const { return {w0[l], w1[l], w2[l], w3[l]}; }
  KAC_FN void put(int l, const kac::Words& w) {
    w0[l] = w.w0;
    w1[l] = w.w1;
    w2[l] = w.w2;
    w3[l] = w.w3;
  }
};

/// Turns 2 k and 2 k + 1 of every path of a block, after those at t.
void next_turns(uint64 seed, const EventBlock& block, uint32 k, const double* __restrict t,
                double* __restrict first, double* __restrict second) {
  EventWords w;
  for (int l = 0; l < kBlock; ++l) {
    w.put(l, kac::waiting_words(seed, block.counter + static_cast<uint64>(l), k));
  }
  for (int l = 0; l < kBlock; ++l) {
    first[l] = t[l] + kac::even_wait(w.at(l)) / block.a[l];
    second[l] = first[l] + kac::odd_wait(w.at(l)) / block.a[l];
  }
}

void count_few(uint64 seed, const EventBlock& block, int64* counts) {
  double t[kBlock] = {}, first[kBlock], second[kBlock];
  int64 count[kBlock] = {};
  int64 running = 1;
  for (uint32 k = 0; running; ++k) {
    next_turns(seed, block, k, t, first, second);
    running = 0;
    for (int l = 0; l < kBlock; ++l) {
      const int64 one = first[l] <= block.t_max[l] ? 1 : 0;
      const int64 two = second[l] <= block.t_max[l] ? 1 : 0;
      count[l] += one + two;
      running += two;
      t[l] = second[l];
    }
  }
  for (int l = 0; l < block.n; ++l) counts[l] = count[l];
}

void fill_few(uint64 seed, const EventBlock& block, const int64* offsets, double* times) {
  double t[kBlock] = {}, turns[kEventTile][kBlock];
  int64 most = 0;
  for (int l = 0; l < block.n; ++l) {
    const int64 count = offsets[l + 1] - offsets[l];
    most = count > most ? count : most;
  }
  for (int64 m = 0; m < most; m += kEventTile) {
    for (int i = 0; i < kEventTile; i += 2) {
      const uint32 k = static_cast<uint32>((m + i) / 2);
      next_turns(seed, block, k, i ? turns[i - 1] : t, turns[i], turns[i + 1]);
    }
    for (int l = 0; l < kBlock; ++l) t[l] = turns[kEventTile - 1][l];
    for (int l = 0; l < block.n; ++l) {
      double* const out = times + offsets[l] + m;
      const int64 left = offsets[l + 1] - offsets[l] - m;
      if (left >= kEventTile) {
        for (int i = 0; i < kEventTile; ++i) out[i] = turns[i][l];
      } else {
        for (int i = 0; i < static_cast<int>(left); ++i) out[i] = turns[i][l];
      }
    }
  }
}

/// kBlock waiting times of one path from number `first`, even, on.
void waiting_times(uint64 seed, uint64 path, int64 first, double a, double* __restrict out) {
  EventWords w;
  const uint32 pair = static_cast<uint32>(first / 2);
  for (int k = 0; k < kBlock / 2; ++k) {
    w.put(k, kac::waiting_words(seed, path, pair + static_cast<uint32>(k)));
  }
  for (int k = 0; k < kBlock / 2; ++k) {
    out[2 * k] = kac::even_wait(w.at(k)) / a;
    out[2 * k + 1] = kac::odd_wait(w.at(k)) / a;
  }
}

/// Number of turning times up to t_max.
int64 count_many(uint64 seed, uint64 path, double t_max, double a) {
  double wait[kBlock], t = 0.0;
  for (int64 m = 0;; m += kBlock) {
    waiting_times(seed, path, m, a, wait);
    for (int k = 0; k < kBlock; ++k) {
      t += wait[k];
      if (!(t <= t_max)) return m + k;
    }
  }
}

/// The first n turning times.
void fill_many(uint64 seed, uint64 path, double a, int64 n, double* out) {
  double wait[kBlock], t = 0.0;
  for (int64 m = 0; m < n; m += kBlock) {
    waiting_times(seed, path, m, a, wait);
    const int rest = static_cast<int>(smallest(kBlock, n - m));
    for (int k = 0; k < rest; ++k) out[m + k] = t += wait[k];
  }
}

void run_count_events(Storage, const EventJob& job, int64 begin, int64 end) {
  const uint64 seed = seed_of(job.noise);
  for (int64 e = begin; e < end; e += kBlock) {
    const EventBlock block(job, e, end);
    double directions[kBlock];
    for (int l = 0; l < kBlock; ++l) {
      directions[l] = kac::first_direction(seed, block.counter + static_cast<uint64>(l));
    }
    for (int l = 0; l < block.n; ++l) job.directions[e + l] = directions[l];
    if (block.few) {
      int64 counts[kBlock];
      count_few(seed, block, counts);
      for (int l = 0; l < block.n; ++l) job.counts[e + l] = counts[l];
      continue;
    }
    for (int l = 0; l < block.n; ++l) {
      const uint64 path = block.counter + static_cast<uint64>(l);
      job.counts[e + l] = count_many(seed, path, block.t_max[l], block.a[l]);
    }
  }
}

void run_fill_events(Storage, const EventJob& job, int64 begin, int64 end) {
  const uint64 seed = seed_of(job.noise);
  for (int64 e = begin; e < end; e += kBlock) {
    const EventBlock block(job, e, end);
    if (block.few) {
      int64 offsets[kBlock + 1];
      for (int l = 0; l <= block.n; ++l) offsets[l] = job.offsets[e + l];
      fill_few(seed, block, offsets, job.times);
      continue;
    }
    for (int l = 0; l < block.n; ++l) {
      const uint64 path = block.counter + static_cast<uint64>(l);
      const int64 first = job.offsets[e + l];
      fill_many(seed, path, block.a[l], job.offsets[e + l + 1] - first, job.times + first);
    }
  }
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_EVENTS_H_
