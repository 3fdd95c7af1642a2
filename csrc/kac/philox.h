// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011): ten rounds, the published constants.
//
// Layout.  One number of a result owns the counter i = offset + (index in the flattened array),
// taken modulo 2^64:
//
//   key      = (seed mod 2^32, seed div 2^32)
//   counter  = (i mod 2^32, i div 2^32, block, stream)
//
//   stream 0            endpoint sampling
//     block 0             w0 case and turn count   w1 radius   w2 angle   w3 unused
//     block 1             the low halves v0 v1 v2 v3 of the same words, in double precision only
//   stream j < 2^32-1   interval j of a path, from 0; i is that of the path
//     blocks 0 and 1      as above, and w3 (v3) direction: interval 0 is the endpoint of the
//     sampler
//   stream 2^32-1       turning times of a path
//     block 0             top bit of w0: the first direction, 1 for +
//     block 1 + m/2       waiting time m from 0: (w0, w1) for even m, (w2, w3) for odd m
//
// So the noise of an element depends on (seed, offset + index) alone, never on threads, grid,
// chunking or backend, and a double draw refines the float draw of the same seed.  The period in
// the offset is 2^64; past it the counter wraps to 0.  tests/core runs the known-answer vectors.
#ifndef KAC_PHILOX_H_
#define KAC_PHILOX_H_

#include "config.h"

namespace kac {
inline namespace KAC_LEVEL {

struct Words {
  uint32 w0, w1, w2, w3;
};

/// The four words of one counter.
KAC_FN Words philox(uint64 seed, uint64 i, uint32 block, uint32 stream) {
  uint32 c0 = static_cast<uint32>(i), c1 = static_cast<uint32>(i >> 32), c2 = block, c3 = stream;
  uint32 k0 = static_cast<uint32>(seed), k1 = static_cast<uint32>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64 p0 = wide_product(0xD2511F53u, c0);
    const uint64 p1 = wide_product(0xCD9E8D57u, c2);
    c0 = static_cast<uint32>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32>(p1);
    c3 = static_cast<uint32>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

}  // namespace KAC_LEVEL
}  // namespace kac

#endif  // KAC_PHILOX_H_
