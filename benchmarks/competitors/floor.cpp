// The words of one draw per number, converted to uniforms and summed so that none is left out: what
// remains of a draw when the map is taken away.  Same headers, blocks and threads as the kernels.
#define KAC_LEVEL floor_level
#include "../../csrc/kac/uniform.h"
#include "../../csrc/native/level_words.h"
#include "../../csrc/native/threads.cpp"

namespace {

constexpr int kBlock = 64;
constexpr std::int64_t kGrain = 16384;

template <class T>
struct Job {
  std::uint64_t seed;
  T* out;
};

// The leading 23 or 52 bits of a word as a number in [0, 1).
KAC_FN float number(kac::uint32 word) { return kac::from_bits(0x3f800000u | (word >> 9)) - 1.0f; }
KAC_FN double number(kac::uint64 word) {
  return kac::from_bits(0x3ff0000000000000ull | (word >> 12)) - 1.0;
}

template <class T>
KAC_FN T mix(const kac::Draw<T>& d) {
  return kac::fma(d.h, d.direction, d.u1) + number(d.w0) * d.one_less_u1;
}

void words(std::uint64_t seed, std::int64_t first, kac::uint32 block, kac::uint32* w0,
           kac::uint32* w1, kac::uint32* w2) {
  kacflow::philox_words<kBlock>(seed, static_cast<kac::uint64>(first), block, 0, w0, w1, w2,
                                nullptr);
}

void run_float(const void* p, long long begin, long long end) {
  const Job<float>& job = *static_cast<const Job<float>*>(p);
  kac::uint32 w0[kBlock], w1[kBlock], w2[kBlock];
  for (std::int64_t e = begin; e < end; e += kBlock) {
    words(job.seed, e, 0, w0, w1, w2);
    float value[kBlock];
    for (int l = 0; l < kBlock; ++l) value[l] = mix(kac::draw({w0[l], w1[l], w2[l], 0}));
    const std::int64_t n = std::min<std::int64_t>(kBlock, end - e);
    memcpy(job.out + e, value, static_cast<std::size_t>(n) * sizeof(float));
  }
}

void run_double(const void* p, long long begin, long long end) {
  const Job<double>& job = *static_cast<const Job<double>*>(p);
  kac::uint32 w0[kBlock], w1[kBlock], w2[kBlock], v0[kBlock], v1[kBlock], v2[kBlock];
  for (std::int64_t e = begin; e < end; e += kBlock) {
    words(job.seed, e, 0, w0, w1, w2);
    words(job.seed, e, 1, v0, v1, v2);
    double value[kBlock];
    for (int l = 0; l < kBlock; ++l) {
      value[l] = mix(kac::draw({w0[l], w1[l], w2[l], 0}, {v0[l], v1[l], v2[l], 0}));
    }
    const std::int64_t n = std::min<std::int64_t>(kBlock, end - e);
    memcpy(job.out + e, value, static_cast<std::size_t>(n) * sizeof(double));
  }
}

}  // namespace

extern "C" void philox_float(std::uint64_t seed, std::int64_t n, int threads, float* out) {
  const Job<float> job{seed, out};
  kacflow::parallel_for(n, kGrain, threads, run_float, &job);
}

extern "C" void philox_double(std::uint64_t seed, std::int64_t n, int threads, double* out) {
  const Job<double> job{seed, out};
  kacflow::parallel_for(n, kGrain, threads, run_double, &job);
}
