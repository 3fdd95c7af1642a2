// What a kernel is told, on the CPU and on a GPU: plain structs whose members are all 64 bits wide,
// so that Python packs them word by word (kacflow_core/backends/_jobs.py) and g++, nvcc and NVRTC
// lay them out alike.  Nothing here knows Python, torch, threads or the CUDA runtime.
#ifndef KACFLOW_JOBS_H_
#define KACFLOW_JOBS_H_

#include "kac/config.h"

namespace kacflow {

using kac::int32;
using kac::int64;
using kac::uint32;
using kac::uint64;

/// Element e = row inner + k of flat, contiguous arrays, row = i0 n1 + i1: the elements of a row
/// share their parameters.
struct Layout {
  int64 rows, n1, inner, size;  ///< size = rows inner
};

/// How the elements are cut into tiles, one per thread block of a GPU (cuda/tiles.h); all 0 on the
/// CPU.
struct Tiling {
  int64 groups;  ///< groups of 16 bytes per thread
  int64 rows;    ///< the most rows that a tile touches
  int64 magic;   ///< ceil(2^31 / inner) if inner is less than a tile, else 0
  int64 wide;    ///< 1 if all data arrays are aligned to 16 bytes
};

/// One value per row, as a strided (n0, n1) view; strides in elements, 0 where it is constant.
struct Parameter {
  const void* data;  ///< null: `value` for every row
  double value;
  int64 is_double;
  int64 stride0, stride1;
};

/// Key and counter of the generator.  A seed on a GPU is read by the kernel, so that a captured
/// graph draws fresh noise whenever the seed there has changed.
struct Noise {
  const uint64* seed_on_device;  ///< null: `seed`
  uint64 seed;
  uint64 offset;
};

KAC_FN uint64 seed_of(const Noise& noise) {
  return noise.seed_on_device ? *noise.seed_on_device : noise.seed;
}

struct SampleJob {
  Layout layout;
  Tiling tiling;
  Noise noise;
  Parameter t, a, c;
  void* out;  // [layout]
};

/// Schedules by their numbers (kac/schedules.h) are evaluated per row, at the times that stand in
/// `clock`, or for a named signal alone in `signal`; number 0 is a schedule whose values are given.
struct PairJob {
  Layout layout;
  Tiling tiling;
  Noise noise;
  Parameter a, c, clock, signal, dsignal, dclock;
  int64 signal_kind, clock_kind;
  double horizon;
  const void* x_0;  // [layout]
  void* x_t;        // [layout]
  void* dx_t;       // [layout]
};

/// A function of the position: the velocity, its two derivatives, the law, or the transport.
struct PointJob {
  Layout layout;
  Tiling tiling;
  Parameter t, a, c;
  Parameter s;    ///< the other time, of the transport alone
  const void* x;  // [layout]
  void* out;      // [layout]
  void* out_dt;   // [layout], the second result where there are two
};

/// Time grids of n numbers of the working type, one per row, as a strided (n0, n1, n) view.
struct TimeGrid {
  const void* data;
  int64 n;
  int64 stride0, stride1, stride;
};

/// Elements are paths; on a GPU Tiling::groups is the number of intervals that a round takes.
struct PathJob {
  Layout layout;
  Tiling tiling;
  Noise noise;
  Parameter a, c;
  TimeGrid times;
  void* positions;   // [layout, times.n]
  void* directions;  // [layout, times.n]
};

/// Elements are paths, whose turning times up to t_max are counted and then written.
struct EventJob {
  Layout layout;
  Tiling tiling;
  Noise noise;  // the seed is a number
  Parameter t_max, a;
  int64* counts;         // [layout]: written by count_events
  double* directions;    // [layout], +-1: written by count_events
  const int64* offsets;  // [layout + 1], where each path's begin: read by fill_events
  double* times;         // [offsets' last]: written by fill_events
};

/// Row i0 n1 + i1 belongs to spline i1.  The elements of spline_grad are parts of splines, element
/// j n1 + i1 the rows from j part on of spline i1: each writes the gradient in its own numbers, and
/// the sums of those in the spline's knots.
struct SplineJob {
  Layout layout;
  Tiling tiling;
  int64 bins;
  const void *edges, *values, *slopes;  // [n1, bins + 1]
  const void* x;                        // [layout]; ordinates of spline_inverse
  void* out;                            // [layout]: y, x, or the gradient in x
  void* out_slope;                      // [layout], or [parts, n1, 3, bins + 1]: those in the knots
  const void *grad_y, *grad_slope;      // of the results, read by spline_grad
  int64 rows, inner, part;              // extents of its arrays, [rows, n1, inner]
};

}  // namespace kacflow

#endif  // KACFLOW_JOBS_H_
