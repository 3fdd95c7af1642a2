// Whole paths on time grids: a thread walks one path, a block as many as it has threads.
//
// Intervals come in rounds of Tiling::groups.  In a round, threads first compute the constants of
// the round's intervals, for the rows that the block touches, into shared memory; then each takes
// its path through them and leaves the results in shared memory; and then all write them out
// together, since the results of one path are contiguous and those of neighbouring threads are not.
// Barriers lie between the three phases.  None is needed after them: the next round's constants
// overwrite what was read before the second barrier, and its results what was read before the next
// round's first.
#ifndef KACFLOW_CUDA_PATH_OPS_H_
#define KACFLOW_CUDA_PATH_OPS_H_

#include "../kac/path.h"
#include "tiles.h"

namespace kacflow {
namespace device {

template <class T>
KAC_FN kac::StepDraw<T> step_draw(uint64 seed, uint64 path, uint32 interval) {
  const kac::Words words = kac::philox(seed, path, 0, interval);
  if constexpr (sizeof(T) == sizeof(float)) {
    return kac::step_draw(words);
  } else {
    return kac::step_draw(words, kac::philox(seed, path, 1, interval));
  }
}

template <class Real>
struct PathOp {
  using Job = PathJob;
  using Row = kac::StepConstants<Real>;
  static constexpr int32 kVector = 1;

  /// Shared memory: the constants, interval by interval, then the results, path by path with one
  /// number between them so that threads write to different banks.
  struct Shared {
    Entry<Row>* steps;
    Real *positions, *directions;

    KAC_FN Shared(void* memory, const Job& job, uint32 threads)
        : steps(static_cast<Entry<Row>*>(memory)),
          positions(reinterpret_cast<Real*>(steps + job.tiling.rows * job.tiling.groups)),
          directions(positions + threads * (job.tiling.groups + 1)) {}
  };

  /// A thread's path.
  struct Walk {
    kac::PathPoint<Real> point;
    int64 first;  ///< the block's first path
    int32 row;    ///< entry of the path's row
    int32 count;  ///< paths of the block

    KAC_FN void begin(const Job& job, const Place& at) {
      first = static_cast<int64>(at.block) * at.threads;
      count = static_cast<int32>(kac::smaller<int64>(job.layout.size - first, at.threads));
      const Rows rows = rows_of(job.layout, {first, count});
      row = row_of(job.tiling, rows.left, static_cast<int32>(at.thread));
      point = {0.0, Real(0), Real(1)};
    }
  };

  static KAC_FN double time_at(const Job& job, const RowIndex& i, int64 k) {
    if (k < 0) return 0.0;
    const TimeGrid& grid = job.times;
    const Real* const data = static_cast<const Real*>(grid.data);
    return data[i.i0 * grid.stride0 + i.i1 * grid.stride1 + k * grid.stride];
  }

  /// Intervals in the round from interval j on.
  static KAC_FN int32 intervals(const Job& job, int64 j) {
    return static_cast<int32>(kac::smaller<int64>(job.times.n - j, job.tiling.groups));
  }

  /// Phase 1: constants of interval j + i of row r at steps[i rows + r].
  static KAC_FN void fill(const Job& job, const Place& at, const Walk& walk, int64 j,
                          const Shared& shared) {
    const int32 rows = static_cast<int32>(job.tiling.rows);
    const int64 first_row = quotient(walk.first, job.layout.inner);
    const int32 n = intervals(job, j) * rows;
    for (int32 k = static_cast<int32>(at.thread); k < n; k += static_cast<int32>(at.threads)) {
      const int32 i = k / rows;
      const int64 row = first_row + (k - i * rows);
      if (row >= job.layout.rows) continue;
      const RowIndex at_row = index_of(job.layout, row);
      shared.steps[k].row =
          kac::step_constants<Real>(value_at(job.a, at_row), value_at(job.c, at_row),
                                    time_at(job, at_row, j + i - 1), time_at(job, at_row, j + i));
    }
  }

  /// Phase 2: the thread's path through the round.
  static KAC_FN void step(const Job& job, const Place& at, int64 j, const Shared& shared,
                          Walk* walk) {
    if (static_cast<int32>(at.thread) >= walk->count) return;
    const uint64 seed = seed_of(job.noise);
    const uint64 path = job.noise.offset + static_cast<uint64>(walk->first) + at.thread;
    const int32 rows = static_cast<int32>(job.tiling.rows), n = intervals(job, j);
    const int64 result = static_cast<int64>(at.thread) * (job.tiling.groups + 1);
    for (int32 i = 0; i < n; ++i) {
      const Row constants = shared.steps[i * rows + walk->row].row;
      const kac::StepDraw<Real> u =
          step_draw<Real>(seed, path, static_cast<uint32>(j) + static_cast<uint32>(i));
      walk->point =
          j + i == 0 ? kac::first_step(constants, u) : kac::next_step(constants, u, walk->point);
      shared.positions[result + i] = walk->point.position;
      shared.directions[result + i] = walk->point.direction;
    }
  }

  /// Phase 3: the round's results, n numbers of each path.
  static KAC_FN void write(const Job& job, const Place& at, const Walk& walk, int64 j,
                           const Shared& shared) {
    const int32 n = intervals(job, j), all = walk.count * n;
    const int32 stride = static_cast<int32>(job.tiling.groups) + 1;
    Real* const positions = static_cast<Real*>(job.positions) + walk.first * job.times.n + j;
    Real* const directions = static_cast<Real*>(job.directions) + walk.first * job.times.n + j;
    for (int32 k = static_cast<int32>(at.thread); k < all; k += static_cast<int32>(at.threads)) {
      const int32 path = k / n, i = k - path * n;
      const int64 to = path * job.times.n + i;
      positions[to] = shared.positions[path * stride + i];
      directions[to] = shared.directions[path * stride + i];
    }
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_PATH_OPS_H_
