// The loops of the endpoint sampler and of the training pair.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_SAMPLING_H_
#define KACFLOW_NATIVE_LEVEL_SAMPLING_H_

#include "../kac/pair.h"
#include "level_common.h"

namespace kacflow {
namespace {

template <class T>
struct ScheduleTable {
  T f[kBlock], df[kBlock], dg[kBlock];

  void fill(const Layout& layout, int64 row, int n, const Parameter& pf, const Parameter& pdf,
            const Parameter& pdg) {
    double fs[kBlock], dfs[kBlock], dgs[kBlock];
    load(pf, layout, row, n, fs);
    load(pdf, layout, row, n, dfs);
    load(pdg, layout, row, n, dgs);
    for (int j = 0; j < kBlock; ++j) {
      put(j, {static_cast<T>(fs[j]), static_cast<T>(dfs[j]), static_cast<T>(dgs[j])});
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
  for (int l = 0; l < kBlock; ++l) out[l] = kac::displacement(constants.at(l), words.at(l));
}

template <class Stored>
void sample(const SampleJob& job, int64 begin, int64 end) {
  using T = kac::Working<Stored>;
  NoiseTable<T> rows, lanes;
  WordBlock<T> words;
  T k[kBlock];
  Stored* const out = static_cast<Stored*>(job.out);
  walk(
      job.layout, begin, end,
      [&](int64 row, int n) { rows.fill(job.layout, row, n, job.t, job.a, job.c); },
      [&](int j, int64 e, int n) {
        words.fill(job.seed, job.offset + static_cast<uint64>(e));
        sample_block<T>(Same<kac::NoiseConstants<T>>{rows.at(j)}, words, k);
        write(k, n, out + e);
      },
      [&](const LaneMap* map, int64 e, int n) {
        words.fill(job.seed, job.offset + static_cast<uint64>(e));
        if (map) map->expand(rows, &lanes);
        sample_block<T>(map ? lanes : rows, words, k);
        write(k, n, out + e);
      });
}

template <class T, class Constants, class Schedules>
void pair_block(const Constants& constants, const Schedules& schedules, const WordBlock<T>& words,
                const T* __restrict x_0, T* __restrict x_t, T* __restrict dx_t) {
  for (int l = 0; l < kBlock; ++l) {
    const kac::Noise<T> noise = kac::noise(constants.at(l), words.at(l));
    const kac::Pair<T> p = kac::pair(noise, schedules.at(l), x_0[l]);
    x_t[l] = p.x_t;
    dx_t[l] = p.dx_t;
  }
}

template <class Stored>
void pair(const PairJob& job, int64 begin, int64 end) {
  using T = kac::Working<Stored>;
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
        rows.fill(job.layout, row, n, job.clock, job.a, job.c);
        schedule_rows.fill(job.layout, row, n, job.signal, job.dsignal, job.dclock);
      },
      [&](int j, int64 e, int n) {
        words.fill(job.seed, job.offset + static_cast<uint64>(e));
        read(in + e, n, x_0);
        pair_block<T>(Same<kac::NoiseConstants<T>>{rows.at(j)},
                      Same<kac::Schedule<T>>{schedule_rows.at(j)}, words, x_0, x_t, dx_t);
        write(x_t, n, out + e);
        write(dx_t, n, out_dx + e);
      },
      [&](const LaneMap* map, int64 e, int n) {
        words.fill(job.seed, job.offset + static_cast<uint64>(e));
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

void run_sample(const SampleJob& job, std::int64_t begin, std::int64_t end) {
  with_storage(job.storage, [&](auto tag) { sample<decltype(tag)>(job, begin, end); });
}
void run_pair(const PairJob& job, std::int64_t begin, std::int64_t end) {
  with_storage(job.storage, [&](auto tag) { pair<decltype(tag)>(job, begin, end); });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_SAMPLING_H_
