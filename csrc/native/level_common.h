// What the CPU loops share: blocks of raw words, tables of row constants, the walk over rows and
// lanes, loads and stores.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_COMMON_H_
#define KACFLOW_NATIVE_LEVEL_COMMON_H_

#include "../kac/pair.h"
#include "../kac/storage.h"
#include "kernels.h"
#include "level_words.h"

namespace kacflow {
namespace {

constexpr int kBlock = 64;

int64 smallest(int64 a, int64 b) { return a < b ? a : b; }

void load_same(double value, double* out) {
  for (int j = 0; j < kBlock; ++j) out[j] = value;
}

/// Row parameters of up to kBlock consecutive rows, as doubles; the last one fills the rest.
template <class Stored>
void load_as(const Parameter& p, const Layout& layout, int64 row, int n, double* out) {
  const Stored* const data = static_cast<const Stored*>(p.data);
  if (p.stride0 == 0 && p.stride1 == 0) return load_same(static_cast<double>(data[0]), out);
  if (layout.n1 == 1) {
    const Stored* const first = data + row * p.stride0;
    for (int j = 0; j < n; ++j) out[j] = static_cast<double>(first[j * p.stride0]);
  } else {
    int64 i0 = row / layout.n1, i1 = row % layout.n1;
    for (int j = 0; j < n; ++j) {
      out[j] = static_cast<double>(data[i0 * p.stride0 + i1 * p.stride1]);
      if (++i1 == layout.n1) {
        i1 = 0;
        ++i0;
      }
    }
  }
  for (int j = n; j < kBlock; ++j) out[j] = out[n - 1];
}

void load(const Parameter& p, const Layout& layout, int64 row, int n, double* out) {
  if (!p.data) {
    load_same(p.value, out);
  } else if (p.is_double) {
    load_as<double>(p, layout, row, n, out);
  } else {
    load_as<float>(p, layout, row, n, out);
  }
}

/// How many rows of a table are computed when n are asked for: whole vectors, and as many as lanes
/// are made of (LaneMap).
KAC_FN int table_rows(const Layout& layout, int n) {
  if (layout.inner == 1) return kBlock;
  const int read = static_cast<int>(smallest(kBlock, kBlock / layout.inner));
  return ((n > read ? n : read) + 15) / 16 * 16;
}

/// The same for tables of which few rows are needed where no lanes are made of them.
KAC_FN int noise_rows(const Layout& layout, int n) {
  return n < 8 && layout.inner >= kBlock / 2 ? n : table_rows(layout, n);
}

/// Raw words of one block of elements, structure of arrays.
template <class T>
struct WordBlock;

template <>
struct WordBlock<float> {
  uint32 w0[kBlock], w1[kBlock], w2[kBlock];

  void fill(uint64 seed, uint64 first) {
    philox_words<kBlock>(seed, first, 0, 0, w0, w1, w2, nullptr);
  }
  KAC_FN kac::Draw<float> at(int l) const { return kac::draw({w0[l], w1[l], w2[l], 0}); }
};

template <>
struct WordBlock<double> {
  WordBlock<float> high, low;

  void fill(uint64 seed, uint64 first) {
    high.fill(seed, first);
    philox_words<kBlock>(seed, first, 1, 0, low.w0, low.w1, low.w2, nullptr);
  }
  KAC_FN kac::Draw<double> at(int l) const {
    return kac::draw({high.w0[l], high.w1[l], high.w2[l], 0}, {low.w0[l], low.w1[l], low.w2[l], 0});
  }
};

/// The sampler's constants of kBlock rows (or lanes), structure of arrays.
template <class T>
struct MapTable {
  kac::Word<T> last_atom[kBlock], never[kBlock], last_odd[kBlock];
  T inverse_even[kBlock], d_max[kBlock], s[kBlock], inverse_s[kBlock], m[kBlock];

  KAC_FN kac::MapConstants<T> at(int j) const {
    return {last_atom[j], never[j], last_odd[j],  inverse_even[j],
            d_max[j],     s[j],     inverse_s[j], m[j]};
  }
  KAC_FN void put(int j, const kac::MapConstants<T>& k) {
    last_atom[j] = k.last_atom;
    never[j] = k.never;
    last_odd[j] = k.last_odd;
    inverse_even[j] = k.inverse_even;
    d_max[j] = k.d_max;
    s[j] = k.s;
    inverse_s[j] = k.inverse_s;
    m[j] = k.m;
  }
  /// f(from's array, this table's array) for every array.
  template <class F>
  void each(const MapTable& from, F f) {
    f(from.last_atom, last_atom);
    f(from.never, never);
    f(from.last_odd, last_odd);
    f(from.inverse_even, inverse_even);
    f(from.d_max, d_max);
    f(from.s, s);
    f(from.inverse_s, inverse_s);
    f(from.m, m);
  }
};

/// Constants of kBlock rows (or lanes), structure of arrays.
template <class T>
struct NoiseTable {
  MapTable<T> map;
  T tau[kBlock], c[kBlock], ct[kBlock];

  void fill(const Layout& layout, int64 row, int n, const Parameter& pt, const Parameter& pa,
            const Parameter& pc) {
    double ts[kBlock];
    load(pt, layout, row, n, ts);
    fill(layout, row, n, ts, pa, pc);
  }
  void fill(const Layout& layout, int64 row, int n, const double* ts, const Parameter& pa,
            const Parameter& pc) {
    double as[kBlock], cs[kBlock];
    load(pa, layout, row, n, as);
    load(pc, layout, row, n, cs);
    const int count = noise_rows(layout, n);
    if (count < 8) {
      for (int j = 0; j < count; ++j) put(j, kac::noise_constants<T>(as[j], cs[j], ts[j]));
    } else {
      for (int j = 0; j < count; ++j) put(j, kac::noise_constants<T>(as[j], cs[j], ts[j]));
    }
  }
  KAC_FN kac::NoiseConstants<T> at(int j) const { return {map.at(j), tau[j], c[j], ct[j]}; }
  KAC_FN void put(int j, const kac::NoiseConstants<T>& k) {
    map.put(j, k.map);
    tau[j] = k.tau;
    c[j] = k.c;
    ct[j] = k.ct;
  }
  template <class F>
  void each(const NoiseTable& from, F f) {
    map.each(from.map, f);
    f(from.tau, tau);
    f(from.c, c);
    f(from.ct, ct);
  }
};

template <class T>
struct ConeTable {
  T a[kBlock], c[kBlock], t[kBlock], tau[kBlock], ct[kBlock], unit[kBlock], slope[kBlock];

  void fill(const Layout& layout, int64 row, int n, const Parameter& pt, const Parameter& pa,
            const Parameter& pc) {
    double ts[kBlock], as[kBlock], cs[kBlock];
    load(pt, layout, row, n, ts);
    load(pa, layout, row, n, as);
    load(pc, layout, row, n, cs);
    const int count = table_rows(layout, n);
    for (int j = 0; j < count; ++j) put(j, kac::cone<T>(as[j], cs[j], ts[j]));
  }
  KAC_FN kac::Cone<T> at(int j) const {
    return {a[j], c[j], t[j], tau[j], ct[j], unit[j], slope[j]};
  }
  KAC_FN void put(int j, const kac::Cone<T>& k) {
    a[j] = k.a;
    c[j] = k.c;
    t[j] = k.t;
    tau[j] = k.tau;
    ct[j] = k.ct;
    unit[j] = k.unit;
    slope[j] = k.slope;
  }
  template <class F>
  void each(const ConeTable& from, F f) {
    f(from.a, a);
    f(from.c, c);
    f(from.t, t);
    f(from.tau, tau);
    f(from.ct, ct);
    f(from.unit, unit);
    f(from.slope, slope);
  }
};

/// One row's constants seen by every lane.
template <class Value>
struct Same {
  Value value;
  KAC_FN Value at(int) const { return value; }
};

/// Which row each lane of a block belongs to, when a block holds several.
struct LaneMap {
  int repeat;         ///< lane l is in row l / repeat, for a power of two; 0: see index
  int index[kBlock];  ///< lane l is in row index[l]

  void set(int64 inner, int64 first, int n) {
    repeat = kBlock % inner == 0 && first % inner == 0 ? static_cast<int>(inner) : 0;
    if (repeat) return;
    int j = 0;
    int64 left = inner - first % inner;
    for (int l = 0; l < kBlock; ++l) {
      index[l] = j;
      if (--left == 0 && l + 1 < n) {
        ++j;
        left = inner;
      }
    }
  }

  template <int kRepeat, class Table>
  static void repeated(const Table& rows, Table* lanes) {
    lanes->each(rows, [](const auto& from, auto& to) {
      for (int j = 0; j < kBlock / kRepeat; ++j) {
        for (int i = 0; i < kRepeat; ++i) to[j * kRepeat + i] = from[j];
      }
    });
  }

  /// The tables' rows spread over lanes.
  template <class Table>
  void expand(const Table& rows, Table* lanes) const {
    switch (repeat) {
      case 2: return repeated<2>(rows, lanes);
      case 4: return repeated<4>(rows, lanes);
      case 8: return repeated<8>(rows, lanes);
      case 16: return repeated<16>(rows, lanes);
      default: break;
    }
    lanes->each(rows, [this](const auto& from, auto& to) {
      for (int l = 0; l < kBlock; ++l) to[l] = from[index[l]];
    });
  }
};

/// Walk [begin, end) in blocks of at most kBlock elements.  `fill(row, n)` prepares the tables of n
/// rows from `row` on; then either `same(j, e, n)` is called for n elements from e on that all lie
/// in row j of the tables, or `mixed(map, e, n)` with each lane's row (null: lane l is row l).
template <class Fill, class OneRow, class Mixed>
void walk(const Layout& layout, int64 begin, int64 end, Fill fill, OneRow same, Mixed mixed) {
  const int64 inner = layout.inner;
  if (inner >= kBlock / 2) {
    const int64 last_row = (end - 1) / inner;
    for (int64 row = begin / inner; row <= last_row; row += kBlock) {
      const int rows = static_cast<int>(smallest(kBlock, last_row + 1 - row));
      fill(row, rows);
      for (int j = 0; j < rows; ++j) {
        const int64 row_begin = (row + j) * inner;
        const int64 stop = smallest(end, row_begin + inner);
        for (int64 e = begin > row_begin ? begin : row_begin; e < stop; e += kBlock) {
          same(j, e, static_cast<int>(smallest(kBlock, stop - e)));
        }
      }
    }
    return;
  }
  LaneMap map;
  for (int64 e = begin; e < end; e += kBlock) {
    const int n = static_cast<int>(smallest(kBlock, end - e));
    const int64 row = e / inner;
    fill(row, static_cast<int>((e + n - 1) / inner - row + 1));
    if (inner > 1) map.set(inner, e, n);
    mixed(inner > 1 ? &map : nullptr, e, n);
  }
}

template <class Stored, class T>
void read(const Stored* from, int n, T* to) {
  if (n == kBlock) {
    for (int l = 0; l < kBlock; ++l) to[l] = kac::widen(from[l]);
  } else {
    for (int l = 0; l < n; ++l) to[l] = kac::widen(from[l]);
    for (int l = n; l < kBlock; ++l) to[l] = T(0);
  }
}

template <class Stored, class T>
void write(const T* from, int n, Stored* to) {
  if (n == kBlock) {
    for (int l = 0; l < kBlock; ++l) to[l] = kac::Narrow<Stored>::of(from[l]);
  } else {
    for (int l = 0; l < n; ++l) to[l] = kac::Narrow<Stored>::of(from[l]);
  }
}

/// Calls f(tag) with a value of the stored type.
template <class F>
void with_storage(Storage storage, F f) {
  switch (storage) {
    case Storage::kFloat32: return f(float{});
    case Storage::kFloat64: return f(double{});
    case Storage::kBFloat16: return f(kac::bfloat16{});
    case Storage::kFloat16: return f(kac::float16{});
  }
}

/// The same for the operations that know float and double alone.
template <class F>
void with_real(Storage storage, F f) {
  if (storage == Storage::kFloat64) return f(double{});
  f(float{});
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_COMMON_H_
