// The loop over whole paths: lanes are paths, and the intervals follow one another inside.  See
// kernels_level.h for the rules.
//
// The result is contiguous in time, so kTile intervals of a block of paths are kept in the
// first-level cache and written out together.  The constants of a tile's intervals are computed
// once for kGroup blocks of a row, and once per row where a block holds several.
#ifndef KACFLOW_NATIVE_LEVEL_PATH_H_
#define KACFLOW_NATIVE_LEVEL_PATH_H_

#include "../kac/path.h"
#include "level_common.h"
#include "level_endpoint.h"

namespace kacflow {
namespace {

constexpr int kTile = 16;
constexpr int kGroup = 8;
constexpr int kFewPaths = 16;  // lanes of a block with no more paths than that

/// Raw words of one interval of a block of paths, the direction word included.
template <class T>
struct StepWords;

template <>
struct StepWords<float> {
  uint32 w0[kBlock], w1[kBlock], w2[kBlock], w3[kBlock];

  template <int kLanes>
  void fill(uint64 seed, uint64 first, uint32 stream, uint32 block = 0) {
    philox_words<kLanes>(seed, first, block, stream, w0, w1, w2, w3);
  }
  KAC_FN kac::Words words(int l) const { return {w0[l], w1[l], w2[l], w3[l]}; }
  KAC_FN kac::StepDraw<float> at(int l) const { return kac::step_draw(words(l)); }
};

template <>
struct StepWords<double> {
  StepWords<float> high, low;

  template <int kLanes>
  void fill(uint64 seed, uint64 first, uint32 stream) {
    high.template fill<kLanes>(seed, first, stream);
    low.template fill<kLanes>(seed, first, stream, 1);
  }
  KAC_FN kac::StepDraw<double> at(int l) const {
    return kac::step_draw(high.words(l), low.words(l));
  }
};

/// Constants of several intervals of one row, or of one interval of several rows (or lanes).
template <class T>
struct StepTable {
  MapTable<T> map;
  double length[kBlock];
  T cone[kBlock];

  /// The first n entries at least, whole vectors of them.
  void fill(int n, const double* a, const double* c, const double* begin, const double* end) {
    const int whole = (n + 15) / 16 * 16;
    for (int j = 0; j < whole; ++j) {
      put(j, kac::step_constants<T>(a[j], c[j], begin[j], end[j]));
    }
  }
  KAC_FN kac::StepConstants<T> at(int j) const { return {map.at(j), length[j], cone[j]}; }
  KAC_FN void put(int j, const kac::StepConstants<T>& k) {
    map.put(j, k.map);
    length[j] = k.length;
    cone[j] = k.cone;
  }
  template <class F>
  void each(const StepTable& from, F f) {
    map.each(from.map, f);
    f(from.length, length);
    f(from.cone, cone);
  }
};

/// Where a block of paths is.
template <class T>
struct PathState {
  double sum[kBlock];
  T position[kBlock], direction[kBlock];

  KAC_FN kac::PathPoint<T> at(int l) const { return {sum[l], position[l], direction[l]}; }
  KAC_FN void put(int l, const kac::PathPoint<T>& p) {
    sum[l] = p.sum;
    position[l] = p.position;
    direction[l] = p.direction;
  }
};

/// Interval j of the paths from counter `first` on.
template <int kLanes, class T, class Constants>
void step_block(uint64 seed, uint64 first, int64 j, const Constants& constants,
                PathState<T>* __restrict state) {
  StepWords<T> words;
  words.template fill<kLanes>(seed, first, static_cast<uint32>(j));
  EndpointBlock<T> points;
  points.template fill<kLanes>(constants, words);
  if (j == 0) {
    for (int l = 0; l < kLanes; ++l) {
      state->put(l, kac::first_step_at(constants.at(l), words.at(l), points.at(l)));
    }
  } else {
    for (int l = 0; l < kLanes; ++l) {
      state->put(l, kac::next_step_at(constants.at(l), words.at(l), points.at(l), state->at(l)));
    }
  }
}

/// The first n rows of a tile to n numbers of each path.
template <class T>
void write_tile(const T (*tile)[kBlock], int n, int paths, T* out, int64 stride) {
  for (int l = 0; l < paths; ++l, out += stride) {
    if (n == kTile) {
      for (int i = 0; i < kTile; ++i) out[i] = tile[i][l];
    } else {
      for (int i = 0; i < n; ++i) out[i] = tile[i][l];
    }
  }
}

/// A tile of intervals, from interval j on, of the n paths from e on; `constants(i)` are those of
/// interval j + i.
template <class T, class Constants>
void path_tile(const PathJob& job, int64 j, int64 e, int n, PathState<T>* state,
               Constants constants) {
  T positions[kTile][kBlock], directions[kTile][kBlock];
  const uint64 seed = seed_of(job.noise);
  const uint64 counter = job.noise.offset + static_cast<uint64>(e);
  const int intervals = static_cast<int>(smallest(kTile, job.times.n - j));
  for (int i = 0; i < intervals; ++i) {
    if (n > kFewPaths) {
      step_block<kBlock>(seed, counter, j + i, constants(i), state);
    } else {
      step_block<kFewPaths>(seed, counter, j + i, constants(i), state);
    }
    for (int l = 0; l < kBlock; ++l) {
      positions[i][l] = state->position[l];
      directions[i][l] = state->direction[l];
    }
  }
  const int64 at = e * job.times.n + j;
  write_tile(positions, intervals, n, static_cast<T*>(job.positions) + at, job.times.n);
  write_tile(directions, intervals, n, static_cast<T*>(job.directions) + at, job.times.n);
}

template <class T>
const T* grid_of(const PathJob& job, int64 row) {
  const int64 i0 = row / job.layout.n1, i1 = row % job.layout.n1;
  return static_cast<const T*>(job.times.data) + i0 * job.times.stride0 + i1 * job.times.stride1;
}

/// The paths [e, stop), all of one row.
template <class T>
void paths_of_row(const PathJob& job, int64 row, int64 e, int64 stop) {
  StepTable<T> table;
  PathState<T> states[kGroup];
  double a[kBlock], c[kBlock], begin[kTile], end[kTile];
  const T* const times = grid_of<T>(job, row);
  load(job.a, job.layout, row, 1, a);
  load(job.c, job.layout, row, 1, c);
  for (; e < stop; e += kGroup * kBlock) {
    for (int64 j = 0; j < job.times.n; j += kTile) {
      for (int i = 0; i < kTile; ++i) {
        const int64 k = smallest(j + i, job.times.n - 1);
        begin[i] = k > 0 ? static_cast<double>(times[(k - 1) * job.times.stride]) : 0.0;
        end[i] = static_cast<double>(times[k * job.times.stride]);
      }
      table.fill(kTile, a, c, begin, end);
      for (int64 b = e; b < smallest(stop, e + kGroup * kBlock); b += kBlock) {
        path_tile(job, j, b, static_cast<int>(smallest(kBlock, stop - b)),
                  states + (b - e) / kBlock,
                  [&](int i) { return Same<kac::StepConstants<T>>{table.at(i)}; });
      }
    }
  }
}

/// The n <= kBlock paths from e on, which lie in several rows.
template <class T>
void paths_of_rows(const PathJob& job, int64 e, int n) {
  StepTable<T> table, lanes;
  PathState<T> state;
  double a[kBlock], c[kBlock], begin[kBlock], end[kBlock];
  const T* times[kBlock];
  const int64 inner = job.layout.inner, row = e / inner;
  const int rows = static_cast<int>((e + n - 1) / inner - row + 1);
  load(job.a, job.layout, row, rows, a);
  load(job.c, job.layout, row, rows, c);
  for (int r = 0; r < kBlock; ++r) {
    times[r] = r < rows ? grid_of<T>(job, row + r) : times[rows - 1];
    end[r] = 0.0;
  }
  LaneMap map;
  if (inner > 1) map.set(inner, e, n);
  for (int64 j = 0; j < job.times.n; j += kTile) {
    path_tile(job, j, e, n, &state, [&](int i) -> const StepTable<T>& {
      for (int r = 0; r < kBlock; ++r) {
        begin[r] = end[r];
        end[r] = static_cast<double>(times[r][(j + i) * job.times.stride]);
      }
      table.fill(rows, a, c, begin, end);
      if (inner > 1) map.expand(table, &lanes);
      return inner > 1 ? lanes : table;
    });
  }
}

template <class T>
void path(const PathJob& job, int64 begin, int64 end) {
  const int64 inner = job.layout.inner;
  if (inner >= kBlock / 2 || inner == job.layout.size) {
    for (int64 row = begin / inner; row * inner < end; ++row) {
      const int64 first = row * inner;
      paths_of_row<T>(job, row, first > begin ? first : begin, smallest(end, first + inner));
    }
  } else {
    for (int64 e = begin; e < end; e += kBlock) {
      paths_of_rows<T>(job, e, static_cast<int>(smallest(kBlock, end - e)));
    }
  }
}

void run_sample_path(Storage storage, const PathJob& job, int64 begin, int64 end) {
  with_real(storage, [&](auto tag) { path<decltype(tag)>(job, begin, end); });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_PATH_H_
