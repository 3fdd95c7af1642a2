// The event-by-event simulation as two operations on tiles, whose elements are paths: one counts
// the turning times, the other draws the same ones again and writes them.
#ifndef KACFLOW_CUDA_EVENT_OPS_H_
#define KACFLOW_CUDA_EVENT_OPS_H_

#include "../kac/events.h"
#include "tiles.h"

namespace kacflow {
namespace device {

struct EventRow {
  double t_max, a;
};

/// The turning times of one path, one after the other.
class Turns {
 public:
  KAC_FN Turns(uint64 seed, uint64 path, double a) : seed_(seed), path_(path), a_(a) {}

  KAC_FN double next() {
    const bool even = number_ % 2 == 0;
    if (even) words_ = kac::waiting_words(seed_, path_, static_cast<uint32>(number_ / 2));
    time_ += (even ? kac::even_wait(words_) : kac::odd_wait(words_)) / a_;
    ++number_;
    return time_;
  }

 private:
  uint64 seed_, path_;
  double a_, time_ = 0.0;
  int64 number_ = 0;
  kac::Words words_ = {0, 0, 0, 0};
};

/// Real is double; a template like the other operations.
template <class Real>
struct EventOp {
  using Job = EventJob;
  using Row = EventRow;
  static constexpr int32 kVector = Vector<Real>::kSize;
  static KAC_FN Row row(const Job& job, const RowIndex& i) {
    return {value_at(job.t_max, i), value_at(job.a, i)};
  }
};

template <class Real>
struct CountEventsOp : EventOp<Real> {
  using EventOp<Real>::kVector;
  struct Count {
    int64 events;
    double direction;
  };

  struct Inputs {
    uint64 seed, first;
    KAC_FN void load(const EventJob& job, int64 e, int32) {
      seed = job.noise.seed;
      first = job.noise.offset + static_cast<uint64>(e);
    }
  };

  struct Outputs {
    Count counts[kVector];
    KAC_FN void set(int32 j, const Count& count) { counts[j] = count; }
    KAC_FN void store(const EventJob& job, int64 e, int32 count) const {
      KAC_UNROLL
      for (int32 j = 0; j < kVector; ++j) {
        if (j >= count) return;
        job.counts[e + j] = counts[j].events;
        job.directions[e + j] = counts[j].direction;
      }
    }
  };

  static KAC_FN Count apply(const EventRow& row, const Inputs& in, int32 j) {
    const uint64 path = in.first + static_cast<uint64>(j);
    Turns turns(in.seed, path, row.a);
    int64 events = 0;
    while (turns.next() <= row.t_max) ++events;
    return {events, kac::first_direction(in.seed, path)};
  }
};

template <class Real>
struct FillEventsOp : EventOp<Real> {
  using EventOp<Real>::kVector;
  struct Done {};

  struct Inputs {
    uint64 seed, first;
    int64 begins[kVector + 1];
    double* times;
    KAC_FN void load(const EventJob& job, int64 e, int32 count) {
      seed = job.noise.seed;
      first = job.noise.offset + static_cast<uint64>(e);
      times = job.times;
      KAC_UNROLL
      for (int32 j = 0; j <= kVector; ++j) begins[j] = job.offsets[e + kac::smaller(j, count)];
    }
  };

  struct Outputs {
    KAC_FN void set(int32, Done) {}
    KAC_FN void store(const EventJob&, int64, int32) const {}
  };

  static KAC_FN Done apply(const EventRow& row, const Inputs& in, int32 j) {
    Turns turns(in.seed, in.first + static_cast<uint64>(j), row.a);
    for (int64 k = in.begins[j]; k < in.begins[j + 1]; ++k) in.times[k] = turns.next();
    return {};
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_EVENT_OPS_H_
