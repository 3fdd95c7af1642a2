// The CPU kernels' interface: plain structs of pointers and sizes, one table of functions per SIMD
// level.  Nothing here knows Python, torch or threads; threads.h splits a job over a range.
#ifndef KACFLOW_NATIVE_KERNELS_H_
#define KACFLOW_NATIVE_KERNELS_H_

#include <cstdint>

namespace kacflow {

/// Format of the data arrays.  16-bit formats compute in float.
enum class Storage : int { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3 };

/// Element e = (i0 n1 + i1) inner + k of a flat, contiguous array: n0 x n1 rows that share their
/// parameters, `inner` elements each.
struct Layout {
  std::int64_t n0 = 0, n1 = 0, inner = 0;
  std::int64_t size() const { return n0 * n1 * inner; }
};

/// One value per row, as a strided (n0, n1) view; strides in elements, 0 where it is constant.
struct Parameter {
  const void* data = nullptr;
  bool is_double = false;
  std::int64_t stride0 = 0, stride1 = 0;
};

struct SampleJob {
  Layout layout;
  Storage storage;
  Parameter t, a, c;
  std::uint64_t seed, offset;
  void* out;  // [layout]
};

struct PairJob {
  Layout layout;
  Storage storage;
  Parameter a, c, signal, dsignal, clock, dclock;
  std::uint64_t seed, offset;
  const void* x_0;  // [layout]
  void* x_t;        // [layout]
  void* dx_t;       // [layout]
};

struct VelocityJob {
  Layout layout;
  Storage storage;
  Parameter t, a, c;
  const void* x;  // [layout]
  void* out;      // [layout]: v, or dv/dx if out_dt is given
  void* out_dt;   // [layout]: dv/dt, or null for the velocity itself
};

/// Time grids of `n` numbers, one per row, as a strided (n0, n1, n) view with unit stride along the
/// grid; of the working type.
struct Grid {
  const void* data = nullptr;
  std::int64_t n = 0, stride0 = 0, stride1 = 0;
};

struct PathJob {
  Layout layout;  // of the paths
  Storage storage;
  Grid times;
  Parameter a, c;
  std::uint64_t seed, offset;
  void* positions;   // [layout, times.n]
  void* directions;  // [layout, times.n]
};

/// The events of every path: its turning times up to t_max.
struct EventJob {
  Layout layout;  // of the paths
  Parameter t_max, a;
  std::uint64_t seed, offset;
  std::int64_t* counts = nullptr;  // [layout]: written by count_events
  double* directions = nullptr;    // [layout], +-1: written by count_events
  const std::int64_t* offsets =
      nullptr;              // [layout + 1], where each path's begin: read by fill_events
  double* times = nullptr;  // [offsets' last]: written by fill_events
};

enum class LawFunction : int { kPdf = 0, kLogPdf = 1, kCdf = 2, kPpf = 3 };

struct LawJob {
  Layout layout;
  Storage storage;  // kFloat32 or kFloat64
  LawFunction function;
  Parameter t, a, c;
  const void* in;  // [layout]: places, or probabilities for kPpf
  void* out;       // [layout]
};

/// Each function handles the elements [begin, end); results do not depend on how a job is split.
struct Kernels {
  const char* level;
  void (*sample)(const SampleJob&, std::int64_t begin, std::int64_t end);
  void (*pair)(const PairJob&, std::int64_t begin, std::int64_t end);
  void (*velocity)(const VelocityJob&, std::int64_t begin, std::int64_t end);
  void (*path)(const PathJob&, std::int64_t begin, std::int64_t end);
  void (*count_events)(const EventJob&, std::int64_t begin, std::int64_t end);
  void (*fill_events)(const EventJob&, std::int64_t begin, std::int64_t end);
  void (*law)(const LawJob&, std::int64_t begin, std::int64_t end);
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
