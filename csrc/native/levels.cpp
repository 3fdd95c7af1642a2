#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace kacflow {

const Kernels* const* usable_kernels() {
  static const Kernels* const* const list = [] {
    static const Kernels* usable[4] = {};
    int n = 0;
#if defined(KACFLOW_AVX2) || defined(KACFLOW_AVX512)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
#endif
#if defined(KACFLOW_AVX512)
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      usable[n++] = &kKernelsAvx512;
    }
#endif
#if defined(KACFLOW_AVX2)
    if (avx2) usable[n++] = &kKernelsAvx2;
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
