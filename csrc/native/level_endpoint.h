// The endpoints of a block: each step of the map in a loop of its own, so that the processor
// overlaps more elements (see kac/sampler.h).  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_ENDPOINT_H_
#define KACFLOW_NATIVE_LEVEL_ENDPOINT_H_

#include "../kac/path.h"
#include "level_common.h"

namespace kacflow {
namespace {

template <class T>
KAC_FN const kac::Draw<T>& endpoint_draw(const kac::Draw<T>& u) {
  return u;
}
template <class T>
KAC_FN const kac::Draw<T>& endpoint_draw(const kac::StepDraw<T>& u) {
  return u.endpoint;
}

template <int kLanes, class T, class Constants, class Words>
void radius_terms_block(const Constants& constants, const Words& words, T* __restrict sum,
                        T* __restrict ratio) {
  for (int l = 0; l < kLanes; ++l) {
    const kac::RadiusTerms<T> terms =
        kac::radius_terms<T>(constants.at(l).map, endpoint_draw<T>(words.at(l)));
    sum[l] = terms.sum;
    ratio[l] = terms.ratio;
  }
}

template <int kLanes, class T, class Constants>
void radius_part_block(const Constants& constants, const T* __restrict sum,
                       const T* __restrict ratio, T* __restrict part) {
  for (int l = 0; l < kLanes; ++l) {
    const kac::RadiusTerms<T> terms = {sum[l], ratio[l]};
    part[l] = kac::radius_part(constants.at(l).map, terms);
  }
}

template <int kLanes, class T, class Constants, class Words>
void endpoint_block(const Constants& constants, const Words& words, const T* __restrict part,
                    T* __restrict xi, T* __restrict one_minus_xi2) {
  for (int l = 0; l < kLanes; ++l) {
    const kac::Endpoint<T> p =
        kac::endpoint_at<T>(constants.at(l).map, endpoint_draw<T>(words.at(l)), part[l]);
    xi[l] = p.xi;
    one_minus_xi2[l] = p.one_minus_xi2;
  }
}

/// The endpoints of a block.  1 - xi^2 is 0 on the atoms alone.
template <class T>
struct EndpointBlock {
  T xi[kBlock], one_minus_xi2[kBlock];

  template <int kLanes, class Constants, class Words>
  void fill(const Constants& constants, const Words& words) {
    T sum[kBlock], ratio[kBlock], part[kBlock];
    radius_terms_block<kLanes, T>(constants, words, sum, ratio);
    radius_part_block<kLanes, T>(constants, sum, ratio, part);
    endpoint_block<kLanes, T>(constants, words, part, xi, one_minus_xi2);
  }
  KAC_FN kac::Endpoint<T> at(int l) const {
    const kac::Word<T> atom = one_minus_xi2[l] == T(0) ? 1 : 0;
    return {xi[l], one_minus_xi2[l], atom};
  }
};

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_ENDPOINT_H_
