#include "../kac/philox.h"
#include "../native/kernels.h"
#include "../native/threads.h"
#include "run.h"

namespace kacflow {
namespace {

namespace py = pybind11;

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

}  // namespace

void register_info(py::module_& m) {
  m.def("info", &info);
  m.def("philox", &philox);
}

}  // namespace kacflow
