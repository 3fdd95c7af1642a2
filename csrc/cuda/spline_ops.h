// Splines as operations on tiles, where every thread searches for the bins of its elements, and
// their gradients, where a block sums those of a part of one spline.
#ifndef KACFLOW_CUDA_SPLINE_OPS_H_
#define KACFLOW_CUDA_SPLINE_OPS_H_

#include "../kac/spline.h"
#include "tiles.h"

namespace kacflow {
namespace device {

/// The knots of all splines, or from one on.
template <class Real>
struct KnotTables {
  const Real *edges, *values, *slopes;
  int32 bins;

  KAC_FN void load(const SplineJob& job, int64 first) {
    edges = static_cast<const Real*>(job.edges) + first;
    values = static_cast<const Real*>(job.values) + first;
    slopes = static_cast<const Real*>(job.slopes) + first;
    bins = static_cast<int32>(job.bins);
  }
};

/// Where a spline's knots begin.
struct SplineRow {
  int64 first;
};

template <class Real>
struct SplineTileOp {
  using Job = SplineJob;
  using Row = SplineRow;
  static constexpr int32 kVector = Vector<Real>::kSize;

  struct Inputs {
    Vector<Real> x;
    KnotTables<Real> knots;
    KAC_FN void load(const SplineJob& job, int64 first, int32 count) {
      knots.load(job, 0);
      x = read<Real>(job.x, first, count, job.tiling.wide != 0);
    }
  };

  static KAC_FN Row row(const Job& job, const RowIndex& i) { return {i.i1 * (job.bins + 1)}; }

  /// The bin in which x lies among `table`, the edges or the values.
  static KAC_FN kac::Bin<Real> found(const KnotTables<Real>& knots, const Real* table,
                                     const Row& row, Real x) {
    const int32 k = kac::bin_of(table + row.first, knots.bins, x);
    return kac::bin_at(knots.edges + row.first, knots.values + row.first, knots.slopes + row.first,
                       k);
  }
};

/// y and y'.
template <class Real>
struct SplineOp : SplineTileOp<Real> {
  using Base = SplineTileOp<Real>;
  using typename Base::Inputs;
  using typename Base::Row;

  struct Outputs {
    Vector<Real> y, slope;
    KAC_FN void set(int32 j, const kac::SplineValue<Real>& value) {
      y.values[j] = value.y;
      slope.values[j] = value.slope;
    }
    KAC_FN void store(const SplineJob& job, int64 first, int32 count) const {
      write(job.out, first, count, job.tiling.wide != 0, y);
      write(job.out_slope, first, count, job.tiling.wide != 0, slope);
    }
  };

  static KAC_FN kac::SplineValue<Real> apply(const Row& row, const Inputs& in, int32 j) {
    const Real x = in.x.values[j];
    return kac::spline(Base::found(in.knots, in.knots.edges, row, x), x);
  }
};

/// The x where the spline is y.
template <class Real>
struct SplineInverseOp : SplineTileOp<Real> {
  using Base = SplineTileOp<Real>;
  using typename Base::Inputs;
  using typename Base::Row;
  using Outputs = Result<Real>;

  static KAC_FN Real apply(const Row& row, const Inputs& in, int32 j) {
    const Real y = in.x.values[j];
    return kac::spline_inverse(Base::found(in.knots, in.knots.values, row, y), y);
  }
};

/// A block goes along its part in rounds.  In each every thread computes the terms of one element,
/// and then adds those of all that belong to its knots, in the order of the elements: sums are the
/// same numbers as on the CPU, and no two threads write into one.
template <class Real>
struct SplineGradOp {
  using Job = SplineJob;
  using Row = SplineRow;
  static constexpr int32 kVector = 1;
  static constexpr int32 kTerms = 6;

  /// Shared memory: 3 (bins + 1) sums, the threads' terms, and their bins.
  struct Shared {
    Real *sums, *terms;
    int32* bins;
    KAC_FN Shared(void* memory, const Job& job, uint32 threads) {
      constexpr int64 kAligned = 16 / static_cast<int64>(sizeof(Real));
      const int64 knots = 3 * (job.bins + 1);
      sums = static_cast<Real*>(memory);
      terms = sums + (knots + kAligned - 1) / kAligned * kAligned;
      bins = reinterpret_cast<int32*>(terms + static_cast<int64>(kTerms * threads));
    }
  };

  /// What a thread knows of its block's part.
  struct State {
    int64 spline, first_row, count;
  };

  static KAC_FN void begin(const Job& job, const Place& at, const Shared& shared, State* state) {
    const int64 part = quotient(at.block, job.layout.n1);
    state->spline = at.block - part * job.layout.n1;
    state->first_row = part * job.part;
    state->count = kac::smaller(job.part, job.rows - state->first_row) * job.inner;
    const int32 slots = 3 * static_cast<int32>(job.bins + 1);
    for (int32 s = static_cast<int32>(at.thread); s < slots; s += static_cast<int32>(at.threads)) {
      shared.sums[s] = Real(0);
    }
  }

  /// The element of this thread in the round that begins with number `first` of the part.
  static KAC_FN void terms(const Job& job, const Place& at, const State& state, int64 first,
                           const Shared& shared) {
    const int64 l = first + at.thread;
    if (l >= state.count) return;
    const int64 row = job.inner == 1 ? l : quotient(l, job.inner);
    const int64 e = ((state.first_row + row) * job.layout.n1 + state.spline) * job.inner +
                    (l - row * job.inner);
    const Real x = static_cast<const Real*>(job.x)[e];
    const Real f = static_cast<const Real*>(job.grad_y)[e];
    const Real g = static_cast<const Real*>(job.grad_slope)[e];
    KnotTables<Real> knots;
    knots.load(job, state.spline * (job.bins + 1));
    const int32 k = kac::bin_of(knots.edges, knots.bins, x);
    const kac::SplineGradient<Real> of =
        kac::spline_gradient(kac::bin_at(knots.edges, knots.values, knots.slopes, k), x, f, g);
    static_cast<Real*>(job.out)[e] = of.x;
    Real* const to = shared.terms + at.thread;
    const uint32 n = at.threads;
    to[0] = of.x_0;
    to[n] = of.x_1;
    to[2 * n] = of.y_0;
    to[3 * n] = of.y_1;
    to[4 * n] = of.d;
    to[5 * n] = of.e;
    shared.bins[at.thread] = k;
  }

  /// Adds the round to the sums of this thread: of quantity q in knot k in place q (bins + 1) + k.
  static KAC_FN void add(const Job& job, const Place& at, const State& state, int64 first,
                         const Shared& shared) {
    const int32 threads = static_cast<int32>(at.threads), knots = static_cast<int32>(job.bins) + 1;
    const int32 n = static_cast<int32>(kac::smaller<int64>(threads, state.count - first));
    for (int32 s = static_cast<int32>(at.thread); s < 3 * knots; s += threads) {
      const int32 quantity = s / knots, k = s - quantity * knots;
      const Real* const left = shared.terms + 2 * quantity * threads;
      Real sum = shared.sums[s];
      for (int32 l = 0; l < n; ++l) {
        const int32 bin = shared.bins[l];
        if (bin == k) sum += left[l];
        if (bin == k - 1) sum += left[threads + l];
      }
      shared.sums[s] = sum;
    }
  }

  static KAC_FN void store(const Job& job, const Place& at, const Shared& shared) {
    const int32 slots = 3 * static_cast<int32>(job.bins + 1);
    Real* const to = static_cast<Real*>(job.out_slope) + static_cast<int64>(at.block) * slots;
    for (int32 s = static_cast<int32>(at.thread); s < slots; s += static_cast<int32>(at.threads)) {
      to[s] = shared.sums[s];
    }
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_SPLINE_OPS_H_
