// The loops of the conditional velocity and its derivatives.  See kernels_level.h for the rules.
#ifndef KACFLOW_NATIVE_LEVEL_VELOCITY_H_
#define KACFLOW_NATIVE_LEVEL_VELOCITY_H_

#include "level_common.h"

namespace kacflow {
namespace {

template <class T, class Cones>
void velocity_block(const Cones& cones, const T* __restrict x, T* __restrict v) {
  for (int l = 0; l < kBlock; ++l) v[l] = kac::velocity(cones.at(l), x[l]);
}

template <class T, class Cones>
void gradient_block(const Cones& cones, const T* __restrict x, T* __restrict dx, T* __restrict dt) {
  for (int l = 0; l < kBlock; ++l) {
    const kac::Gradient<T> g = kac::gradient(cones.at(l), x[l]);
    dx[l] = g.dx;
    dt[l] = g.dt;
  }
}

/// block(cones, x, v, dv_dt) computes a block; dv_dt is written where there is a second result.
template <class Stored, class Block>
void at_cones(const PointJob& job, int64 begin, int64 end, Block compute) {
  using T = kac::Working<Stored>;
  ConeTable<T> rows, lanes;
  T x[kBlock], v[kBlock], dt[kBlock];
  const Stored* const in = static_cast<const Stored*>(job.x);
  Stored* const out = static_cast<Stored*>(job.out);
  Stored* const out_dt = static_cast<Stored*>(job.out_dt);
  const auto block = [&](const auto& cones, int64 e, int n) {
    read(in + e, n, x);
    compute(cones, x, v, dt);
    if (out_dt) write(dt, n, out_dt + e);
    write(v, n, out + e);
  };
  walk(
      job.layout, begin, end,
      [&](int64 row, int n) { rows.fill(job.layout, row, n, job.t, job.a, job.c); },
      [&](int j, int64 e, int n) { block(Same<kac::Cone<T>>{rows.at(j)}, e, n); },
      [&](const LaneMap* map, int64 e, int n) {
        if (map) map->expand(rows, &lanes);
        block(map ? lanes : rows, e, n);
      });
}

void run_velocity(Storage storage, const PointJob& job, int64 begin, int64 end) {
  with_storage(storage, [&](auto tag) {
    at_cones<decltype(tag)>(job, begin, end, [](const auto& cones, const auto* x, auto* v, auto*) {
      velocity_block(cones, x, v);
    });
  });
}
void run_velocity_grad(Storage storage, const PointJob& job, int64 begin, int64 end) {
  with_storage(storage, [&](auto tag) {
    at_cones<decltype(tag)>(job, begin, end,
                            [](const auto& cones, const auto* x, auto* dx, auto* dt) {
                              gradient_block(cones, x, dx, dt);
                            });
  });
}

}  // namespace
}  // namespace kacflow

#endif  // KACFLOW_NATIVE_LEVEL_VELOCITY_H_
