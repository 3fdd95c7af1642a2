// The known answers of kacflow_core/testing/philox_vectors.txt against csrc/kac: words exactly, and
// the numbers that a draw makes of its uniforms to a few units in the last place.
#ifndef KACFLOW_TESTS_KNOWN_ANSWERS_H_
#define KACFLOW_TESTS_KNOWN_ANSWERS_H_

#include <cmath>
#include <cstdio>
#include <limits>

#include "../../csrc/kac/uniform.h"

namespace kacflow {

template <class T>
bool close_to(T got, long double exact) {
  return std::fabs(static_cast<long double>(got) - exact) <=
         exact * std::numeric_limits<T>::epsilon();
}

/// (n + 1/2)/2^bits.
inline long double uniform(unsigned long long n, int bits) {
  return std::ldexp(static_cast<long double>(n) + 0.5L, -bits);
}

/// Whether a draw has u0 = (n0 + 1/2)/2^bits, u1 = (n1 + 1/2)/2^u1_bits, u2 = (n2 + 1/2)/2^bits.
template <class T>
bool same_uniforms(const kac::Draw<T>& draw, const unsigned long long (&n)[3], int u1_bits) {
  const int rest = 64 - 8 * static_cast<int>(sizeof(T));
  const long double u1 = uniform(n[1], u1_bits);
  const long double one_less_u1 = uniform((1ull << u1_bits) - 1 - n[1], u1_bits);
  // 2 u2 is an integer and a signed fraction v of at most 1/2, which are exact in 64 bits.
  const long long v = static_cast<long long>((n[2] << 1 | 1ull) << rest);
  const long double half_sine =
      std::sin(std::ldexp(static_cast<long double>(v), -64) * std::acos(0.0L));
  const bool backwards = ((n[2] << rest) + (1ull << 62)) >> 63;
  return draw.w0 == n[0] && close_to(draw.u1, u1) && close_to(draw.one_less_u1, one_less_u1) &&
         std::fabs(draw.h - half_sine * half_sine) <=
             3 * half_sine * half_sine * std::numeric_limits<T>::epsilon() &&
         draw.direction == (backwards ? T(-1) : T(1));
}

/// Number of wrong answers; a file that cannot be read, or without answers, is one too.
inline int count_wrong_answers(const char* path) {
  std::FILE* const file = std::fopen(path, "r");
  if (!file) {
    std::printf("FAILED: cannot read %s\n", path);
    return 1;
  }
  int answers = 0, wrong = 0;
  char line[256];
  while (std::fgets(line, sizeof line, file)) {
    unsigned long long seed, counter, n[3];
    unsigned block, stream, w0, w1, w2, w3;
    bool good;
    if (std::sscanf(line, "words %llx %llx %x %x %x %x %x %x", &seed, &counter, &block, &stream,
                    &w0, &w1, &w2, &w3) == 8) {
      const kac::Words w = kac::philox(seed, counter, block, stream);
      good = w.w0 == w0 && w.w1 == w1 && w.w2 == w2 && w.w3 == w3;
    } else if (std::sscanf(line, "float32 %llx %llx %llx %llx %llx", &seed, &counter, &n[0], &n[1],
                           &n[2]) == 5) {
      good = same_uniforms(kac::draw(kac::philox(seed, counter, 0, 0)), n, 31);
    } else if (std::sscanf(line, "float64 %llx %llx %llx %llx %llx", &seed, &counter, &n[0], &n[1],
                           &n[2]) == 5) {
      const kac::Words high = kac::philox(seed, counter, 0, 0);
      good = same_uniforms(kac::draw(high, kac::philox(seed, counter, 1, 0)), n, 62);
    } else {
      good = line[0] == '#' || line[0] == '\n';
      answers -= good;
    }
    ++answers;
    if (!good) {
      ++wrong;
      std::printf("FAILED: known answer %s", line);
    }
  }
  std::fclose(file);
  std::printf("%d known answers, %d wrong\n", answers, wrong);
  return answers > 0 ? wrong : 1;
}

}  // namespace kacflow

#endif  // KACFLOW_TESTS_KNOWN_ANSWERS_H_
