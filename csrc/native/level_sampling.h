// The loops of the endpoint sampler and of the training pair.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_SAMPLING_H_
#define KACFLOW_NATIVE_LEVEL_SAMPLING_H_

#include "../kac/pair.h"
#include "../kac/schedules.h"
#include "level_common.h"
#include "level_endpoint.h"

namespace kacflow {
namespace {

/// A schedule and its derivative in kBlock rows.
struct JetTable {
  double value[kBlock], slope[kBlock];

  /// Where they were given: values, and slopes.
  void fill_given(const Layout& layout, int64 row, int n, const Parameter& values,
                  const Parameter& slopes) {
    load(values, layout, row, n, value);
    load(slopes, layout, row, n, slope);
  }
  /// f(time) in `count` rows.
  template <class F>
  void fill(int count, const double* times, F f) {
    for (int j = 0; j < count; ++j) {
      const kac::Jet jet = f(times[j]);
      value[j] = jet.value;
      slope[j] = jet.slope;
    }
  }
};

/// Signals or clocks of n rows, in `count` of the table's: one loop per kind, without a branch
/// inside.
template <class Schedule>
void fill_jets(int64 kind, double T, const Layout& layout, int64 row, int n, int count,
               const Parameter& values, const Parameter& slopes, Schedule schedule,
               JetTable* table) {
  if (kind == 0) return table->fill_given(layout, row, n, values, slopes);
  double times[kBlock];
  load(values, layout, row, n, times);
  switch (kind) {
#define KACFLOW_KIND(number) \
  case number: return table->fill(count, times, [=](double t) { return schedule(number, t, T); });
    KACFLOW_KIND(1)
    KACFLOW_KIND(2)
    KACFLOW_KIND(3)
    KACFLOW_KIND(4)
    KACFLOW_KIND(5)
#undef KACFLOW_KIND
    default: return;
  }
}

template <class T>
struct ScheduleTable {
  T f[kBlock], df[kBlock], dg[kBlock];

  /// The first `count` rows of `signals` and the clock's slopes in the working type.
  void fill(int count, const JetTable& signals, const JetTable& clocks) {
    for (int j = 0; j < count; ++j) {
      put(j, {static_cast<T>(signals.value[j]), static_cast<T>(signals.slope[j]),
              static_cast<T>(clocks.slope[j])});
    }
  }
  KAC_FN kac::Schedule<T> at(int j) const { return {f[j], df[j], dg[j]}; }
  KAC_FN void put(int j, const kac::Schedule<T>& s) {
    f[j] = s.f;
    df[j] = s.df;
    dg[j] = s.dg;
  }
  template <class F>
  void each(const ScheduleTable& from, F apply) {
    apply(from.f, f);
    apply(from.df, df);
    apply(from.dg, dg);
  }
};

template <class T, class Constants>
void sample_block(const Constants& constants, const WordBlock<T>& words, T* __restrict out) {
  EndpointBlock<T> points;
  points.template fill<kBlock>(constants, words);
  for (int l = 0; l < kBlock; ++l) out[l] = constants.at(l).ct * points.xi[l];
}

template <class Stored>
void sample(const SampleJob& job, int64 begin, int64 end) {
  using T = kac::Working<Stored>;
  const uint64 seed = seed_of(job.noise);
  NoiseTable<T> rows, lanes;
  WordBlock<T> words;
  T k[kBlock];
  Stored* const out = static_cast<Stored*>(job.out);
  walk(
      job.layout, begin, end,
      [&](int64 row, int n) { rows.fill(job.layout, row, n, job.t, job.a, job.c); },
      [&](int j, int64 e, int n) {
        words.fill(seed, job.noise.offset + static_cast<uint64>(e));
        sample_block<T>(Same<kac::NoiseConstants<T>>{rows.at(j)}, words, k);
        write(k, n, out + e);
      },
      [&](const LaneMap* map, int64 e, int n) {
        words.fill(seed, job.noise.offset + static_cast<uint64>(e));
        if (map) map->expand(rows, &lanes);
        sample_block<T>(map ? lanes : rows, words, k);
        write(k, n, out + e);
      });
}

template <class T, class Constants, class Schedules>
void pair_block(const Constants& constants, const Schedules& schedules, const WordBlock<T>& words,
                const T* __restrict x_0, T* __restrict x_t, T* __restrict dx_t) {
  EndpointBlock<T> points;
  points.template fill<kBlock>(constants, words);
  for (int l = 0; l < kBlock; ++l) {
    const kac::Noise<T> noise = kac::noise_at(constants.at(l), points.at(l));
    const kac::Pair<T> p = kac::pair(noise, schedules.at(l), x_0[l]);
    x_t[l] = p.x_t;
    dx_t[l] = p.dx_t;
  }
}

template <class Stored>
void pair(const PairJob& job, int64 begin, int64 end) {
  using T = kac::Working<Stored>;
  const uint64 seed = seed_of(job.noise);
  JetTable signals, clocks;
  NoiseTable<T> rows, lanes;
  ScheduleTable<T> schedule_rows, schedule_lanes;
  WordBlock<T> words;
  T x_0[kBlock], x_t[kBlock], dx_t[kBlock];
  const Stored* const in = static_cast<const Stored*>(job.x_0);
  Stored* const out = static_cast<Stored*>(job.x_t);
  Stored* const out_dx = static_cast<Stored*>(job.dx_t);
  walk(
      job.layout, begin, end,
      [&](int64 row, int n) {
        const int count = noise_rows(job.layout, n);
        const auto signal = [](int64 kind, double t, double T) {
          return kac::signal(kind, t, T, 0.0);
        };
        const auto clock = [](int64 kind, double t, double T) {
          return kac::clock(kind, t, T, 0.0);
        };
        fill_jets(job.signal_kind, job.horizon, job.layout, row, n, count,
                  job.signal_kind && job.clock_kind ? job.clock : job.signal, job.dsignal, signal,
                  &signals);
        fill_jets(job.clock_kind, job.horizon, job.layout, row, n, count, job.clock, job.dclock,
                  clock, &clocks);
        rows.fill(job.layout, row, n, clocks.value, job.a, job.c);
        schedule_rows.fill(count, signals, clocks);
      },
      [&](int j, int64 e, int n) {
        words.fill(seed, job.noise.offset + static_cast<uint64>(e));
        read(in + e, n, x_0);
        pair_block<T>(Same<kac::NoiseConstants<T>>{rows.at(j)},
                      Same<kac::Schedule<T>>{schedule_rows.at(j)}, words, x_0, x_t, dx_t);
        write(x_t, n, out + e);
        write(dx_t, n, out_dx + e);
      },
      [&](const LaneMap* map, int64 e, int n) {
        words.fill(seed, job.noise.offset + static_cast<uint64>(e));
        read(in + e, n, x_0);
        if (map) {
          map->expand(rows, &lanes);
          map->expand(schedule_rows, &schedule_lanes);
        }
        pair_block<T>(map ? lanes : rows, map ? schedule_lanes : schedule_rows, words, x_0, x_t,
                      dx_t);
        write(x_t, n, out + e);
        write(dx_t, n, out_dx + e);
      });
}

void run_sample(Storage storage, const SampleJob& job, int64 begin, int64 end) {
  with_real(storage, [&](auto tag) { sample<decltype(tag)>(job, begin, end); });
}
void run_sample_pair(Storage storage, const PairJob& job, int64 begin, int64 end) {
  with_storage(storage, [&](auto tag) { pair<decltype(tag)>(job, begin, end); });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_SAMPLING_H_
