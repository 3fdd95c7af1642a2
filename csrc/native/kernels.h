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
  void (*law)(const LawJob&, std::int64_t begin, std::int64_t end);
};

extern const Kernels kKernelsBaseline;
#if defined(KACFLOW_X86_LEVELS)
extern const Kernels kKernelsAvx2;
extern const Kernels kKernelsAvx512;
#endif

/// The levels built in and usable on this processor, fastest first, ended by a null pointer.
const Kernels* const* usable_kernels();

/// The level in use: the fastest, or the one named by KACFLOW_SIMD (read once).  Throws
/// std::runtime_error if that names no usable level.
const Kernels& kernels();

}  // namespace kacflow

#endif  // KACFLOW_NATIVE_KERNELS_H_
