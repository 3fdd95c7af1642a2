// The loops of the density, the distribution function, the quantiles and the transport.  See
// kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_LAW_H_
#define KACFLOW_NATIVE_LEVEL_LAW_H_

#include "../kac/law.h"
#include "../kac/transport.h"
#include "level_common.h"

namespace kacflow {
namespace {

template <class T>
struct LawTable {
  ConeTable<T> cones;
  T reach[kBlock], rate[kBlock], power[kBlock], atom[kBlock], last_atom[kBlock];

  void fill(const PointJob& job, int64 row, int n) {
    double ts[kBlock], as[kBlock], cs[kBlock];
    load(job.t, job.layout, row, n, ts);
    load(job.a, job.layout, row, n, as);
    load(job.c, job.layout, row, n, cs);
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
struct TransportTable {
  ConeTable<T> cones;
  T reach[kBlock], tau[kBlock], ct[kBlock];

  void fill(const PointJob& job, int64 row, int n) {
    double ts[kBlock], ss[kBlock], as[kBlock], cs[kBlock];
    load(job.t, job.layout, row, n, ts);
    load(job.s, job.layout, row, n, ss);
    load(job.a, job.layout, row, n, as);
    load(job.c, job.layout, row, n, cs);
    for (int j = 0; j < kBlock; ++j) put(j, kac::transport<T>(as[j], cs[j], ts[j], ss[j]));
  }
  KAC_FN kac::Transport<T> at(int j) const { return {cones.at(j), reach[j], tau[j], ct[j]}; }
  KAC_FN void put(int j, const kac::Transport<T>& k) {
    cones.put(j, k.cone);
    reach[j] = k.reach;
    tau[j] = k.tau;
    ct[j] = k.ct;
  }
  template <class F>
  void each(const TransportTable& from, F f) {
    cones.each(from.cones, f);
    f(from.reach, reach);
    f(from.tau, tau);
    f(from.ct, ct);
  }
};

/// function(table, in, out) computes a block.
template <template <class> class Table, class T, class Block>
void at_points(const PointJob& job, int64 begin, int64 end, Block function) {
  Table<T> rows, lanes;
  T in[kBlock], out[kBlock];
  const T* const from = static_cast<const T*>(job.x);
  T* const to = static_cast<T*>(job.out);
  const auto block = [&](const Table<T>& table, int64 e, int n) {
    read(from + e, n, in);
    function(table, in, out);
    write(out, n, to + e);
  };
  walk(
      job.layout, begin, end, [&](int64 row, int n) { rows.fill(job, row, n); },
      [&](int j, int64 e, int n) {
        for (int l = 0; l < kBlock; ++l) lanes.put(l, rows.at(j));  // little next to the nodes
        block(lanes, e, n);
      },
      [&](const LaneMap* map, int64 e, int n) {
        if (map) map->expand(rows, &lanes);
        block(map ? lanes : rows, e, n);
      });
}

#define KACFLOW_LAW(name, Table)                                                          \
  void run_##name(Storage storage, const PointJob& job, int64 begin, int64 end) {         \
    with_real(storage, [&](auto tag) {                                                    \
      at_points<Table, decltype(tag)>(                                                    \
          job, begin, end,                                                                \
          [](const auto& rows, const auto& in, auto& out) { kac::name(rows, in, out); }); \
    });                                                                                   \
  }
KACFLOW_LAW(pdf, LawTable)
KACFLOW_LAW(logpdf, LawTable)
KACFLOW_LAW(cdf, LawTable)
KACFLOW_LAW(ppf, LawTable)
KACFLOW_LAW(transport, TransportTable)
#undef KACFLOW_LAW

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_LAW_H_
