// The loops of the splines, their inverse and their gradients.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_SPLINE_H_
#define KACFLOW_NATIVE_LEVEL_SPLINE_H_

#include "../kac/spline.h"
#include "level_common.h"

namespace kacflow {
namespace {

/// The knots of the splines from some on, of which each lane has one.
template <class T>
struct SplineLanes {
  const T *edges, *values, *slopes;
  int32 bins;
  int32 base[kBlock];  ///< where each lane's spline begins
  int32 at[kBlock];    ///< and its bin

  SplineLanes(const SplineJob& job, int64 spline)
      : edges(static_cast<const T*>(job.edges) + spline * (job.bins + 1)),
        values(static_cast<const T*>(job.values) + spline * (job.bins + 1)),
        slopes(static_cast<const T*>(job.slopes) + spline * (job.bins + 1)),
        bins(static_cast<int32>(job.bins)) {}

  /// Lane 0 is number `skipped` in its row, of spline `spline` of n1, and n lanes are in use.
  void spread(int64 inner, int64 skipped, int64 spline, int64 n1, int n) {
    const int32 knots = bins + 1, around = static_cast<int32>(knots * (n1 - 1));
    int32 here = 0;
    int64 left = n1 == 1 ? n : inner - skipped, after = n1 - spline;
    for (int l = 0; l < n; ++l) {
      base[l] = here;
      if (--left == 0) {
        left = inner;
        here = --after == 0 ? here - around : here + knots;
        after = after == 0 ? n1 : after;
      }
    }
    for (int l = n; l < kBlock; ++l) base[l] = base[n - 1];
  }

  /// Finds the bins of numbers among `knots`, which are edges or values.
  void find(const T* __restrict knots, const T* __restrict x) {
    const int32 last = bins - 1;
    int32 step = kac::first_step(bins);
    for (int l = 0; l < kBlock; ++l) {
      at[l] = kac::searched(knots, base[l], 0, step, last, x[l]);
    }
    while ((step /= 2) > 0) {
      for (int l = 0; l < kBlock; ++l) {
        at[l] = kac::searched(knots, base[l], at[l], step, last, x[l]);
      }
    }
    for (int l = 0; l < kBlock; ++l) at[l] += base[l];
  }

  KAC_FN kac::Bin<T> bin(int l) const { return kac::bin_at(edges, values, slopes, at[l]); }
};

template <class T>
void spline_block(const SplineLanes<T>& lanes, const T* __restrict x, T* __restrict y,
                  T* __restrict slope) {
  for (int l = 0; l < kBlock; ++l) {
    const kac::SplineValue<T> value = kac::spline(lanes.bin(l), x[l]);
    y[l] = value.y;
    slope[l] = value.slope;
  }
}

template <class T>
void inverse_block(const SplineLanes<T>& lanes, const T* __restrict y, T* __restrict x) {
  for (int l = 0; l < kBlock; ++l) x[l] = kac::spline_inverse(lanes.bin(l), y[l]);
}

/// Gradients in x and in the six numbers of the bin.
template <class T>
struct SplineTerms {
  T x[kBlock], x_0[kBlock], x_1[kBlock], y_0[kBlock], y_1[kBlock], d[kBlock], e[kBlock];
};

template <class T>
void gradient_block(const SplineLanes<T>& lanes, const T* __restrict x, const T* __restrict f,
                    const T* __restrict g, SplineTerms<T>* __restrict terms) {
  for (int l = 0; l < kBlock; ++l) {
    const kac::SplineGradient<T> of = kac::spline_gradient(lanes.bin(l), x[l], f[l], g[l]);
    terms->x[l] = of.x;
    terms->x_0[l] = of.x_0;
    terms->x_1[l] = of.x_1;
    terms->y_0[l] = of.y_0;
    terms->y_1[l] = of.y_1;
    terms->d[l] = of.d;
    terms->e[l] = of.e;
  }
}

/// Blocks of [begin, end); compute(lanes, e, n).  Where tables are so large that 32 bits do not
/// count their numbers, blocks end with the last spline.
template <class T, class Block>
void at_splines(const SplineJob& job, int64 begin, int64 end, Block compute) {
  const int64 inner = job.layout.inner, n1 = job.layout.n1;
  const bool large = n1 * (job.bins + 1) >= int64(1) << 31;
  for (int64 e = begin; e < end;) {
    const int64 row = e / inner, spline = row % n1, skipped = e - row * inner;
    int64 n = smallest(kBlock, end - e);
    if (large) n = smallest(n, (n1 - spline) * inner - skipped);
    SplineLanes<T> lanes(job, spline);
    lanes.spread(inner, skipped, spline, n1, static_cast<int>(n));
    compute(lanes, e, static_cast<int>(n));
    e += n;
  }
}

void run_spline(Storage storage, const SplineJob& job, int64 begin, int64 end) {
  with_real(storage, [&](auto tag) {
    using T = decltype(tag);
    T x[kBlock], y[kBlock], slope[kBlock];
    at_splines<T>(job, begin, end, [&](SplineLanes<T>& lanes, int64 e, int n) {
      read(static_cast<const T*>(job.x) + e, n, x);
      lanes.find(lanes.edges, x);
      spline_block(lanes, x, y, slope);
      write(y, n, static_cast<T*>(job.out) + e);
      write(slope, n, static_cast<T*>(job.out_slope) + e);
    });
  });
}

void run_spline_inverse(Storage storage, const SplineJob& job, int64 begin, int64 end) {
  with_real(storage, [&](auto tag) {
    using T = decltype(tag);
    T x[kBlock], y[kBlock];
    at_splines<T>(job, begin, end, [&](SplineLanes<T>& lanes, int64 e, int n) {
      read(static_cast<const T*>(job.x) + e, n, y);
      lanes.find(lanes.values, y);
      inverse_block(lanes, y, x);
      write(x, n, static_cast<T*>(job.out) + e);
    });
  });
}

/// Parts of up to kBlock / inner splines side by side, whose numbers lie together in every row.
/// Each spline's are summed one by one, in the order in which they lie, whatever is beside it.
template <class T>
class SplineSums {
 public:
  explicit SplineSums(const SplineJob& job) : job_(job), knots_(job.bins + 1) {}

  /// `count` parts from number `unit` on, of neighbouring splines and the same rows; several fit
  /// into one block.
  void run(int64 unit, int64 count) {
    const int64 n1 = job_.layout.n1, spline = unit % n1, first = unit / n1 * job_.part;
    const int64 rows = smallest(job_.part, job_.rows - first);
    T* const sums = static_cast<T*>(job_.out_slope) + unit * 3 * knots_;
    for (int64 i = 0; i < count * 3 * knots_; ++i) sums[i] = T(0);
    const bool together = n1 == 1;  // rows follow one another
    const int64 length = (together ? rows : count) * job_.inner;
    SplineLanes<T> lanes(job_, spline);
    for (int64 row = first; row < first + (together ? 1 : rows); ++row) {
      for (int64 k = 0; k < length; k += kBlock) {
        const int n = static_cast<int>(smallest(kBlock, length - k));
        lanes.spread(job_.inner, 0, 0, count == 1 ? 1 : count + 1, n);
        add(&lanes, (row * n1 + spline) * job_.inner + k, n, sums);
      }
    }
  }

 private:
  void add(SplineLanes<T>* lanes, int64 e, int n, T* sums) {
    T x[kBlock], f[kBlock], g[kBlock];
    read(static_cast<const T*>(job_.x) + e, n, x);
    read(static_cast<const T*>(job_.grad_y) + e, n, f);
    read(static_cast<const T*>(job_.grad_slope) + e, n, g);
    lanes->find(lanes->edges, x);
    gradient_block(*lanes, x, f, g, &terms_);
    write(terms_.x, n, static_cast<T*>(job_.out) + e);
    for (int l = 0; l < n; ++l) {
      T* const to = sums + 2 * lanes->base[l] + lanes->at[l];
      to[0] += terms_.x_0[l];
      to[1] += terms_.x_1[l];
      to[knots_] += terms_.y_0[l];
      to[knots_ + 1] += terms_.y_1[l];
      to[2 * knots_] += terms_.d[l];
      to[2 * knots_ + 1] += terms_.e[l];
    }
  }

  const SplineJob& job_;
  const int64 knots_;
  SplineTerms<T> terms_;
};

void run_spline_grad(Storage storage, const SplineJob& job, int64 begin, int64 end) {
  with_real(storage, [&](auto tag) {
    SplineSums<decltype(tag)> sums(job);
    const int64 n1 = job.layout.n1, wide = job.inner < kBlock ? kBlock / job.inner : 1;
    for (int64 unit = begin; unit < end;) {
      const int64 count = smallest(wide, smallest(end - unit, n1 - unit % n1));
      sums.run(unit, count);
      unit += count;
    }
  });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_SPLINE_H_
