#include <limits>

#include "../kac/philox.h"
#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#elif defined(_MSC_VER)
constexpr const char* kCompiler = "msvc";
#else
constexpr const char* kCompiler = "unknown";
#endif

py::dict info() {
  py::list usable;
  for (const Kernels* const* k = usable_kernels(); *k; ++k) usable.append((*k)->level);
  py::list built;
  built.append("baseline");
#if defined(KACFLOW_AVX2)
  built.append("avx2");
#endif
#if defined(KACFLOW_AVX512)
  built.append("avx512");
#endif
  py::dict d;
  d["compiler"] = kCompiler;
  d["simd_built"] = built;
  d["simd_usable"] = usable;
  d["simd"] = kernels().level;
  d["thread_source"] = thread_source();
  return d;
}

py::tuple philox(std::uint64_t seed, std::uint64_t counter, std::uint32_t block,
                 std::uint32_t stream) {
  const kac::Words w = kac::philox(seed, counter, block, stream);
  return py::make_tuple(w.w0, w.w1, w.w2, w.w3);
}

/// Smallest and largest value of a float array of any strides; (nan, nan) if one is NaN, and
/// (inf, -inf) if it is empty.
template <class T>
py::tuple extent_of(const py::array& a) {
  T low = std::numeric_limits<T>::infinity(), high = -low;
  bool nan = false;
  const auto* base = static_cast<const char*>(a.data());
  const py::ssize_t rows = a.ndim() == 2 ? a.shape(0) : 1;
  const py::ssize_t columns = a.ndim() == 0 ? 1 : a.shape(a.ndim() - 1);
  const py::ssize_t row_step = a.ndim() == 2 ? a.strides(0) : 0;
  const py::ssize_t step = a.ndim() == 0 ? 0 : a.strides(a.ndim() - 1);
  for (py::ssize_t i = 0; i < rows; ++i) {
    for (py::ssize_t j = 0; j < columns; ++j) {
      const T x = *reinterpret_cast<const T*>(base + i * row_step + j * step);
      low = x < low ? x : low;
      high = x > high ? x : high;
      nan = nan || x != x;
    }
  }
  if (nan) low = high = std::numeric_limits<T>::quiet_NaN();
  return py::make_tuple(low, high);
}

py::tuple extent(const py::array& a) {
  if (a.ndim() > 2) throw py::value_error("extent: at most two axes");
  if (a.dtype().kind() == 'f' && a.itemsize() == 4) return extent_of<float>(a);
  if (a.dtype().kind() == 'f' && a.itemsize() == 8) return extent_of<double>(a);
  throw py::type_error("extent: float32 or float64");
}

}  // namespace

void register_info(py::module_& m) {
  m.def("info", &info);
  m.def("philox", &philox);
  m.def("extent", &extent);
}

}  // namespace kacflow
