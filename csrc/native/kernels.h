// The CPU kernels' interface: jobs (../jobs.h) in, one table of functions per SIMD level.  Nothing
// here knows Python, torch or threads; threads.h splits a job over a range.
#ifndef KACFLOW_NATIVE_KERNELS_H_
#define KACFLOW_NATIVE_KERNELS_H_

#include "../jobs.h"

namespace kacflow {

/// Format of the data arrays.  16-bit formats compute in float.
enum class Storage : int { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3 };

/// X(name, job, number of storages, counted from float32 on; float64 alone for 0, grain).  The
/// grain is the cost of an element, of an interval or event or number of one where there are
/// several, next to a draw of K(t), times 8; its inverse is how few elements are worth a thread.
/// The velocity takes under a nanosecond, a function of the law tens, a quantile hundreds.
#define KACFLOW_NATIVE_OPERATIONS(X) \
  X(sample, SampleJob, 2, 8)         \
  X(sample_pair, PairJob, 4, 8)      \
  X(sample_path, PathJob, 2, 8)      \
  X(velocity, PointJob, 4, 2)        \
  X(velocity_grad, PointJob, 4, 2)   \
  X(pdf, PointJob, 2, 64)            \
  X(logpdf, PointJob, 2, 64)         \
  X(cdf, PointJob, 2, 64)            \
  X(ppf, PointJob, 2, 64)            \
  X(transport, PointJob, 2, 64)      \
  X(spline, SplineJob, 2, 4)         \
  X(spline_grad, SplineJob, 2, 8)    \
  X(spline_inverse, SplineJob, 2, 4) \
  X(count_events, EventJob, 0, 8)    \
  X(fill_events, EventJob, 0, 8)

/// Handles the elements [begin, end); results do not depend on how a job is split.
template <class Job>
using Kernel = void (*)(Storage, const Job&, int64 begin, int64 end);

struct Kernels {
  const char* level;
#define KACFLOW_MEMBER(name, Job, storages, grain) Kernel<Job> name;
  KACFLOW_NATIVE_OPERATIONS(KACFLOW_MEMBER)
#undef KACFLOW_MEMBER
};

extern const Kernels kKernelsBaseline;
extern const Kernels kKernelsAvx2;    // with KACFLOW_AVX2
extern const Kernels kKernelsAvx512;  // with KACFLOW_AVX512

/// The levels built in and usable on this processor, fastest first, ended by a null pointer.
const Kernels* const* usable_kernels();

/// The level in use: the fastest, or the one named by KACFLOW_SIMD (read once).  Throws
/// std::runtime_error if that names no usable level.
const Kernels& kernels();

}  // namespace kacflow

#endif  // KACFLOW_NATIVE_KERNELS_H_
