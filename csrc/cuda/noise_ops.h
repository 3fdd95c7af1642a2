// Endpoint samples and training pairs as operations on tiles.
#ifndef KACFLOW_CUDA_NOISE_OPS_H_
#define KACFLOW_CUDA_NOISE_OPS_H_

#include "../kac/pair.h"
#include "../kac/schedules.h"
#include "tiles.h"

namespace kacflow {
namespace device {

/// The random words of one element, kept instead of the draw that they stand for: fewer registers
/// across the barrier.
template <class T>
struct ElementWords;

template <>
struct ElementWords<float> {
  uint32 w0, w1, w2;

  KAC_FN void draw(uint64 seed, uint64 i) {
    const kac::Words w = kac::philox(seed, i, 0, 0);
    w0 = w.w0;
    w1 = w.w1;
    w2 = w.w2;
  }
  KAC_FN kac::Draw<float> value() const { return kac::draw({w0, w1, w2, 0}); }
};

template <>
struct ElementWords<double> {
  ElementWords<float> high, low;

  KAC_FN void draw(uint64 seed, uint64 i) {
    high.draw(seed, i);
    const kac::Words v = kac::philox(seed, i, 1, 0);
    low.w0 = v.w0;
    low.w1 = v.w1;
    low.w2 = v.w2;
  }
  KAC_FN kac::Draw<double> value() const {
    return kac::draw({high.w0, high.w1, high.w2, 0}, {low.w0, low.w1, low.w2, 0});
  }
};

template <class T, int32 kVector>
struct GroupWords {
  ElementWords<T> words[kVector];

  KAC_FN void draw(const Noise& noise, int64 first) {
    const uint64 seed = seed_of(noise);
    const uint64 counter = noise.offset + static_cast<uint64>(first);
    KAC_UNROLL
    for (int32 j = 0; j < kVector; ++j) words[j].draw(seed, counter + static_cast<uint64>(j));
  }
};

/// K(t).
template <class Real>
struct SampleOp {
  using Job = SampleJob;
  using Row = kac::NoiseConstants<Real>;
  static constexpr int32 kVector = Vector<Real>::kSize;
  using Outputs = Result<Real>;

  struct Inputs {
    GroupWords<Real, kVector> noise;
    KAC_FN void load(const Job& job, int64 first, int32) { noise.draw(job.noise, first); }
  };

  static KAC_FN Row row(const Job& job, const RowIndex& i) {
    return kac::noise_constants<Real>(value_at(job.a, i), value_at(job.c, i), value_at(job.t, i));
  }
  static KAC_FN Real apply(const Row& row, const Inputs& in, int32 j) {
    return kac::displacement(row, in.noise.words[j].value());
  }
};

/// (x_t, dx_t).
template <class Stored>
struct PairOp {
  using Job = PairJob;
  using Real = kac::Working<Stored>;
  static constexpr int32 kVector = Vector<Stored>::kSize;

  struct Row {
    kac::NoiseConstants<Real> noise;
    kac::Schedule<Real> schedule;
  };

  struct Inputs {
    GroupWords<Real, kVector> noise;
    Vector<Stored> x_0;
    KAC_FN void load(const Job& job, int64 first, int32 count) {
      x_0 = read<Stored>(job.x_0, first, count, job.tiling.wide != 0);
      noise.draw(job.noise, first);
    }
  };

  struct Outputs {
    Vector<Stored> x_t, dx_t;
    KAC_FN void set(int32 j, const kac::Pair<Real>& p) {
      x_t.values[j] = kac::Narrow<Stored>::of(p.x_t);
      dx_t.values[j] = kac::Narrow<Stored>::of(p.dx_t);
    }
    KAC_FN void store(const Job& job, int64 first, int32 count) const {
      write(job.x_t, first, count, job.tiling.wide != 0, x_t);
      write(job.dx_t, first, count, job.tiling.wide != 0, dx_t);
    }
  };

  static KAC_FN Row row(const Job& job, const RowIndex& i) {
    const double clock = value_at(job.clock, i);
    const double signal = job.signal_kind && job.clock_kind ? clock : value_at(job.signal, i);
    const kac::Jet f = kac::signal(job.signal_kind, signal, job.horizon, value_at(job.dsignal, i));
    const kac::Jet g = kac::clock(job.clock_kind, clock, job.horizon, value_at(job.dclock, i));
    return {kac::noise_constants<Real>(value_at(job.a, i), value_at(job.c, i), g.value),
            {static_cast<Real>(f.value), static_cast<Real>(f.slope), static_cast<Real>(g.slope)}};
  }
  static KAC_FN kac::Pair<Real> apply(const Row& row, const Inputs& in, int32 j) {
    return kac::pair(kac::noise(row.noise, in.noise.words[j].value()), row.schedule,
                     kac::widen(in.x_0.values[j]));
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_NOISE_OPS_H_
