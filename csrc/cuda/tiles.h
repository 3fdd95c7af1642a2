// Which thread handles which elements, and how rows' constants reach it.
//
// A thread block handles a tile of consecutive elements, in rounds: in each round its threads take
// one group of 16 bytes of data each, side by side.  Constants of the rows that the tile touches
// are computed once, in double precision where the mathematics asks for it, by the block's first
// threads into a table in shared memory; the others read their first elements and draw their random
// words in the meantime, and a barrier joins them.  Only the threads that fill the table divide
// indices.
//
// Everything here is a plain function of (block, thread, threads), so that a CPU can run the same
// text over a simulated grid (tests/native/simulated_grid.cpp).
#ifndef KACFLOW_CUDA_TILES_H_
#define KACFLOW_CUDA_TILES_H_

#include "../jobs.h"
#include "../kac/storage.h"

namespace kacflow {
namespace device {

/// A thread's place in a one-dimensional grid.
struct Place {
  uint32 block, thread, threads;
};

/// The data that a thread reads or writes at once.
template <class Stored>
struct alignas(16) Vector {
  static constexpr int32 kSize = 16 / static_cast<int32>(sizeof(Stored));
  Stored values[kSize];
};

/// A group from `from` on of which `count` elements exist; the rest are zero.  One access of 16
/// bytes where all exist and `wide` says that arrays are aligned.
template <class Stored>
KAC_FN Vector<Stored> read(const void* data, int64 first, int32 count, bool wide) {
  const Stored* const from = static_cast<const Stored*>(data) + first;
  Vector<Stored> v;
  if (wide && count >= v.kSize) {
    v = *reinterpret_cast<const Vector<Stored>*>(from);
  } else {
    KAC_UNROLL
    for (int32 j = 0; j < v.kSize; ++j) v.values[j] = j < count ? from[j] : Stored();
  }
  return v;
}

template <class Stored>
KAC_FN void write(void* data, int64 first, int32 count, bool wide, const Vector<Stored>& v) {
  Stored* const to = static_cast<Stored*>(data) + first;
  if (wide && count >= v.kSize) {
    *reinterpret_cast<Vector<Stored>*>(to) = v;
  } else {
    KAC_UNROLL
    for (int32 j = 0; j < v.kSize; ++j) {
      if (j < count) to[j] = v.values[j];
    }
  }
}

/// The outputs of an operation with one result, in `out` of its job.
template <class Stored>
struct Result {
  Vector<Stored> v;
  KAC_FN void set(int32 j, kac::Working<Stored> value) {
    v.values[j] = kac::Narrow<Stored>::of(value);
  }
  template <class Job>
  KAC_FN void store(const Job& job, int64 first, int32 count) const {
    write(job.out, first, count, job.tiling.wide != 0, v);
  }
};

/// n / d for n >= 0, d > 0, by 32-bit division where that is enough.
KAC_FN int64 quotient(int64 n, int64 d) {
  if (((n | d) >> 32) == 0) {
    return static_cast<int64>(static_cast<uint32>(n) / static_cast<uint32>(d));
  }
  return n / d;
}

/// Row i0 n1 + i1.
struct RowIndex {
  int64 i0, i1;
};

KAC_FN RowIndex index_of(const Layout& layout, int64 row) {
  const int64 i0 = layout.n1 == 1 ? row : quotient(row, layout.n1);
  return {i0, row - i0 * layout.n1};
}

/// The parameter of a row.
KAC_FN double value_at(const Parameter& p, const RowIndex& i) {
  if (!p.data) return p.value;
  const int64 k = i.i0 * p.stride0 + i.i1 * p.stride1;
  return p.is_double ? static_cast<const double*>(p.data)[k]
                     : static_cast<double>(static_cast<const float*>(p.data)[k]);
}

/// The table's entries: an odd number of 16 bytes, so that neighbouring rows lie in other banks.
template <class Row>
union alignas(16) Entry {
  Row row;
  unsigned char bytes[16 * ((static_cast<int32>(sizeof(Row)) + 15) / 16 | 1)];
};

/// Shared memory of a block.
template <class Row>
struct Table {
  alignas(16) int32 left;  ///< elements of the tile's first row that lie in the tile
  Entry<Row> entries[1];   ///< as many as Tiling::rows
};

/// Which row, counted from the tile's first, its l-th element belongs to; `left` elements of the
/// first row lie in the tile.
KAC_FN int32 row_of(const Tiling& tiling, int32 left, int32 l) {
  const int32 beyond = l - left;
  // beyond / inner, exactly: both are below 2^15, so that the excess of magic adds less than
  // 1/2^31.
  const uint64 scaled =
      kac::wide_product(static_cast<uint32>(beyond), static_cast<uint32>(tiling.magic));
  return beyond < 0 ? 0 : 1 + static_cast<int32>(scaled >> 31);
}

/// The tile of a block.
struct Tile {
  int64 first;  ///< its first element
  int32 count;  ///< elements in it
};

template <class Op>
KAC_FN Tile tile_of(const typename Op::Job& job, const Place& at) {
  const int32 size =
      static_cast<int32>(job.tiling.groups) * static_cast<int32>(at.threads) * Op::kVector;
  const int64 first = static_cast<int64>(at.block) * size;
  return {first, static_cast<int32>(kac::smaller<int64>(job.layout.size - first, size))};
}

/// The rows of a tile.
struct Rows {
  int64 first;
  int32 left;  ///< elements of the first one that lie in the tile
};

KAC_FN Rows rows_of(const Layout& layout, const Tile& tile) {
  const int64 first = quotient(tile.first, layout.inner);
  const int64 to_end = (first + 1) * layout.inner - tile.first;
  return {first, static_cast<int32>(kac::smaller<int64>(to_end, tile.count))};
}

/// First phase: the block's first threads fill the table.  Op::row(job, index) makes a row.
template <class Op>
KAC_FN void fill_table(const typename Op::Job& job, const Place& at,
                       Table<typename Op::Row>* table) {
  const int32 count = static_cast<int32>(job.tiling.rows);
  if (static_cast<int32>(at.thread) >= count) return;
  const Rows rows = rows_of(job.layout, tile_of<Op>(job, at));
  if (at.thread == 0) table->left = rows.left;
  for (int32 r = static_cast<int32>(at.thread); r < count; r += static_cast<int32>(at.threads)) {
    if (rows.first + r >= job.layout.rows) return;
    table->entries[r].row = Op::row(job, index_of(job.layout, rows.first + r));
  }
}

/// A thread's work before and after the barrier.  Op::Inputs::load(job, e, count) reads and draws
/// for the elements from e on, Op::apply makes a result of a row's constants and an input, and
/// Op::Outputs::store writes.
///
/// kWhole: the group size divides inner, so that groups lie within one row and are complete.
template <class Op, bool kWhole>
struct Thread {
  typename Op::Inputs in;

  /// First phase: the inputs of the first round.
  KAC_FN void begin(const typename Op::Job& job, const Place& at) {
    const Tile tile = tile_of<Op>(job, at);
    const int32 l = static_cast<int32>(at.thread) * Op::kVector;
    if (l < tile.count) in.load(job, tile.first + l, tile.count - l);
  }

  /// Second phase: all results.
  KAC_FN void finish(const typename Op::Job& job, const Place& at,
                     const Table<typename Op::Row>& table) {
    const Tile tile = tile_of<Op>(job, at);
    const int32 step = static_cast<int32>(at.threads) * Op::kVector;
    int32 l = static_cast<int32>(at.thread) * Op::kVector;
    while (l < tile.count) {
      results(job, table, tile, l);
      l += step;
      if (l < tile.count) in.load(job, tile.first + l, tile.count - l);
    }
  }

 private:
  KAC_FN void results(const typename Op::Job& job, const Table<typename Op::Row>& table,
                      const Tile& tile, int32 l) const {
    const int32 count = tile.count - l;
    typename Op::Outputs out;
    if (kWhole) {
      const typename Op::Row row = table.entries[row_of(job.tiling, table.left, l)].row;
      KAC_UNROLL
      for (int32 j = 0; j < Op::kVector; ++j) out.set(j, Op::apply(row, in, j));
    } else {
      KAC_UNROLL
      for (int32 j = 0; j < Op::kVector; ++j) {
        const int32 e = row_of(job.tiling, table.left, l + kac::smaller(j, count - 1));
        // A copy: of a reference nvcc 13 loads half of a pair as unused, and uses it.
        const typename Op::Row row = table.entries[e].row;
        out.set(j, Op::apply(row, in, j));
      }
    }
    out.store(job, tile.first + l, count);
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_TILES_H_
