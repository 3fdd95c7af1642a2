#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

#if defined(KACFLOW_AVX2) || defined(KACFLOW_AVX512)
#include <cpuid.h>
#endif

namespace kacflow {
namespace {

#if defined(KACFLOW_AVX2) || defined(KACFLOW_AVX512)
/// The level of this processor that the system keeps registers for: 0, 2 (avx2) or 512.  Not by
/// __builtin_cpu_supports, which asks a runtime library: the one that comes with zig knows nothing.
/// Bits: Intel, Software Developer's Manual, volume 2, CPUID and volume 1, XCR0.
int processor_level() {
  constexpr unsigned kFma = 1u << 12, kOsXsave = 1u << 27, kAvx = 1u << 28;  // 1, ecx
  constexpr unsigned kAvx2 = 1u << 5, kBmi2 = 1u << 8;                       // 7, ebx
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;    // f, dq, bw, vl
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;                               // XCR0
  const auto all = [](unsigned value, unsigned bits) { return (value & bits) == bits; };
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, kFma | kOsXsave | kAvx)) return 0;
  unsigned enabled, high;
  __asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all(b, kAvx2 | kBmi2)) return 0;
  if (!all(enabled, kYmm)) return 0;
  return all(b, kAvx512) && all(enabled, kZmm) ? 512 : 2;
}
#endif

}  // namespace

const Kernels* const* usable_kernels() {
  static const Kernels* const* const list = [] {
    static const Kernels* usable[4] = {};
    int n = 0;
#if defined(KACFLOW_AVX2) || defined(KACFLOW_AVX512)
    const int level = processor_level();
#endif
#if defined(KACFLOW_AVX512)
    if (level >= 512) usable[n++] = &kKernelsAvx512;
#endif
#if defined(KACFLOW_AVX2)
    if (level >= 2) usable[n++] = &kKernelsAvx2;
#endif
    usable[n] = &kKernelsBaseline;
    return usable;
  }();
  return list;
}

const Kernels& kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
    const char* wanted = std::getenv("KACFLOW_SIMD");
    if (!wanted || !*wanted) return **usable_kernels();
    std::string names;
    for (const Kernels* const* k = usable_kernels(); *k; ++k) {
      if (std::string(wanted) == (*k)->level) return **k;
      names += std::string(names.empty() ? "" : ", ") + (*k)->level;
    }
    throw std::runtime_error("KACFLOW_SIMD is '" + std::string(wanted) +
                             "'; usable on this processor: " + names);
  }();
  return chosen;
}

}  // namespace kacflow
