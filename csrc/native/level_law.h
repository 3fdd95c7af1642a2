// The loops of the density, the distribution function and the quantiles.  See kernels_level.h for
// the rules.
#ifndef KACFLOW_NATIVE_LEVEL_LAW_H_
#define KACFLOW_NATIVE_LEVEL_LAW_H_

#include "../kac/law.h"
#include "level_common.h"

namespace kacflow {
namespace {

template <class T>
struct LawTable {
  ConeTable<T> cones;
  T reach[kBlock], rate[kBlock], power[kBlock], atom[kBlock], last_atom[kBlock];

  void fill(const Layout& layout, int64 row, int n, const Parameter& pt, const Parameter& pa,
            const Parameter& pc) {
    double ts[kBlock], as[kBlock], cs[kBlock];
    load(pt, layout, row, n, ts);
    load(pa, layout, row, n, as);
    load(pc, layout, row, n, cs);
    for (int j = 0; j < kBlock; ++j) put(j, kac::law<T>(as[j], cs[j], ts[j]));
  }
  KAC_FN kac::Law<T> at(int j) const {
    return {cones.at(j), reach[j], rate[j], power[j], atom[j], last_atom[j]};
  }
  KAC_FN void put(int j, const kac::Law<T>& k) {
    cones.put(j, k.cone);
    reach[j] = k.reach;
    rate[j] = k.rate;
    power[j] = k.power;
    atom[j] = k.atom;
    last_atom[j] = k.last_atom;
  }
  template <class F>
  void each(const LawTable& from, F f) {
    cones.each(from.cones, f);
    f(from.reach, reach);
    f(from.rate, rate);
    f(from.power, power);
    f(from.atom, atom);
    f(from.last_atom, last_atom);
  }
};

template <class T>
void law_block(LawFunction function, const LawTable<T>& laws, const T (&in)[kBlock],
               T (&out)[kBlock]) {
  switch (function) {
    case LawFunction::kPdf: return kac::pdf(laws, in, out);
    case LawFunction::kLogPdf: return kac::logpdf(laws, in, out);
    case LawFunction::kCdf: return kac::cdf(laws, in, out);
    case LawFunction::kPpf: return kac::ppf(laws, in, out);
  }
}

template <class T>
void law(const LawJob& job, int64 begin, int64 end) {
  LawTable<T> rows, lanes;
  T in[kBlock], out[kBlock];
  const T* const from = static_cast<const T*>(job.in);
  T* const to = static_cast<T*>(job.out);
  const auto block = [&](const LawTable<T>& laws, int64 e, int n) {
    read(from + e, n, in);
    law_block(job.function, laws, in, out);
    write(out, n, to + e);
  };
  walk(
      job.layout, begin, end,
      [&](int64 row, int n) { rows.fill(job.layout, row, n, job.t, job.a, job.c); },
      [&](int j, int64 e, int n) {
        for (int l = 0; l < kBlock; ++l) lanes.put(l, rows.at(j));  // little next to the nodes
        block(lanes, e, n);
      },
      [&](const LaneMap* map, int64 e, int n) {
        if (map) map->expand(rows, &lanes);
        block(map ? lanes : rows, e, n);
      });
}

void run_law(const LawJob& job, std::int64_t begin, std::int64_t end) {
  if (job.storage == Storage::kFloat64) {
    law<double>(job, begin, end);
  } else {
    law<float>(job, begin, end);
  }
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_LAW_H_
