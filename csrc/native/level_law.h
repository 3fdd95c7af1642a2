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

/// function(laws, in, out) computes a block.
template <class T, class Block>
void at_laws(const PointJob& job, int64 begin, int64 end, Block function) {
  LawTable<T> rows, lanes;
  T in[kBlock], out[kBlock];
  const T* const from = static_cast<const T*>(job.x);
  T* const to = static_cast<T*>(job.out);
  const auto block = [&](const LawTable<T>& laws, int64 e, int n) {
    read(from + e, n, in);
    function(laws, in, out);
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

#define KACFLOW_LAW(name)                                                                       \
  void run_##name(Storage storage, const PointJob& job, int64 begin, int64 end) {               \
    with_real(storage, [&](auto tag) {                                                          \
      at_laws<decltype(tag)>(job, begin, end, [](const auto& laws, const auto& in, auto& out) { \
        kac::name(laws, in, out);                                                               \
      });                                                                                       \
    });                                                                                         \
  }
KACFLOW_LAW(pdf)
KACFLOW_LAW(logpdf)
KACFLOW_LAW(cdf)
KACFLOW_LAW(ppf)
#undef KACFLOW_LAW

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_LAW_H_
