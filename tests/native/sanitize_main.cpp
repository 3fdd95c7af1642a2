// Every CPU kernel at awkward sizes, splits, strides and values, without Python: run under
// AddressSanitizer and UndefinedBehaviorSanitizer by `make sanitize`.  Arrays are allocated to the
// byte, so that a read or write past an end is found.  Besides running clean it checks that splits
// and threads change no bit, that the levels agree, that |K| <= c t and |v| <= c, and that paths
// keep to the light cone.  The arguments name the files of known answers and of Python's jobs.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "../../csrc/kac/schedules.h"
#include "../../csrc/native/kernels.h"
#include "../../csrc/native/threads.h"
#include "known_answers.h"
#include "packed_jobs.h"

#if defined(__has_feature)
#define KACFLOW_HAS_FEATURE(x) __has_feature(x)
#else
#define KACFLOW_HAS_FEATURE(x) 0
#endif
#if !defined(__SANITIZE_ADDRESS__) && !KACFLOW_HAS_FEATURE(address_sanitizer)
#error "without AddressSanitizer this program finds little: build it with scripts/sanitize.sh"
#endif

namespace {

using kacflow::int64;
using kacflow::Kernel;
using kacflow::Kernels;
using kacflow::Layout;
using kacflow::Parameter;
using kacflow::PointJob;
using kacflow::Storage;

int g_failures = 0;

void check(bool good, const char* what, const char* level, int64 size) {
  if (good) return;
  std::printf("FAILED: %s (level %s, %lld elements)\n", what, level, static_cast<long long>(size));
  ++g_failures;
}

/// Exactly n bytes, so that the sanitizer sees their end.
struct Bytes {
  explicit Bytes(int64 n) : data(new unsigned char[static_cast<std::size_t>(n)]), size(n) {
    std::memset(data.get(), 0xff, static_cast<std::size_t>(n));
  }
  bool operator==(const Bytes& other) const {
    return size == other.size &&
           std::memcmp(data.get(), other.data.get(), static_cast<std::size_t>(size)) == 0;
  }
  std::unique_ptr<unsigned char[]> data;
  int64 size;
};

int64 width(Storage s) { return s == Storage::kFloat64 ? 8 : s == Storage::kFloat32 ? 4 : 2; }

double value(const Bytes& b, Storage s, int64 i) {
  if (s == Storage::kFloat64) return reinterpret_cast<const double*>(b.data.get())[i];
  return static_cast<double>(reinterpret_cast<const float*>(b.data.get())[i]);
}

/// Times, rates and speeds over the whole range, one per row.
struct Rows {
  explicit Rows(int64 n) : t(n), a(n), c(n), f(n) {
    const double taus[] = {0.0, 1e-30, 1e-6, 0.3, 9.0, 22.5, 39.9, 40.1, 88.0, 310.0, 1e6, 1e15};
    for (int64 i = 0; i < n; ++i) {
      a[i] = 1.0 + static_cast<double>(i % 7);
      t[i] = taus[i % 12] / a[i];
      c[i] = std::pow(10.0, static_cast<double>(i % 5) - 2.0);
      f[i] = 1.0 - 0.01 * static_cast<double>(i % 100);
    }
  }
  static Parameter of(const std::vector<double>& v, const Layout& layout) {
    return {v.data(), 0.0, 1, layout.n1, 1};
  }
  std::vector<double> t, a, c, f;
};

Layout layout_of(int64 n0, int64 n1, int64 inner) { return {n0 * n1, n1, inner, n0 * n1 * inner}; }

/// On the CPU jobs are not tiled.
constexpr kacflow::Tiling kNoTiling = {0, 0, 0, 0};

template <class Job>
void run_split(Kernel<Job> kernel, Storage storage, const Job& job, int64 step) {
  const int64 n = job.layout.size;
  for (int64 begin = 0; begin < n; begin += step) {
    kernel(storage, job, begin, begin + step < n ? begin + step : n);
  }
}

/// From the draws in x to the times of other rows.
void try_transport(const Kernels& k, const Layout& layout, Storage storage, const Rows& rows,
                   const Bytes& x) {
  std::vector<double> ends(rows.t.rbegin(), rows.t.rend());
  Bytes moved(x.size), again(x.size);
  PointJob job{layout,
               kNoTiling,
               Rows::of(rows.t, layout),
               Rows::of(rows.a, layout),
               Rows::of(rows.c, layout),
               Rows::of(ends, layout),
               x.data.get(),
               moved.data.get(),
               nullptr};
  k.transport(storage, job, 0, layout.size);
  job.out = again.data.get();
  run_split(k.transport, storage, job, 45);
  check(moved == again, "transport: a split changed the result", k.level, layout.size);
  for (int64 i = 0; i < layout.size; ++i) {
    const int64 row = i / layout.inner;
    const double edge = rows.c[row] * ends[row] * (1.0 + 1e-6);
    check(std::fabs(value(moved, storage, i)) <= edge, "transport: outside the cone", k.level,
          layout.size);
  }
}

/// The law at the draws in x, and the quantiles of its distribution function.
void try_law(const Kernels& k, const Layout& layout, Storage storage, const Rows& rows,
             const Bytes& x) {
  const int64 n = layout.size;
  const Parameter t = Rows::of(rows.t, layout), a = Rows::of(rows.a, layout),
                  c = Rows::of(rows.c, layout);
  Bytes p(x.size), f(x.size), again(x.size);
  for (const auto kernel : {k.pdf, k.logpdf, k.cdf}) {
    Bytes& out = kernel == k.cdf ? f : p;
    PointJob job{layout, kNoTiling, t, a, c, {}, x.data.get(), out.data.get(), nullptr};
    kernel(storage, job, 0, n);
    job.out = again.data.get();
    run_split(kernel, storage, job, 71);
    check(out == again, "law: a split changed the result", k.level, n);
    for (int64 i = 0; i < n; ++i) {
      const double v = value(out, storage, i);
      const bool good = kernel == k.logpdf ? !std::isnan(v)
                        : kernel == k.pdf  ? v >= 0.0
                                           : v >= 0.0 && v <= 1.0;
      check(good, "law: a value out of range", k.level, n);
    }
  }
  PointJob job{layout, kNoTiling, t, a, c, {}, f.data.get(), p.data.get(), nullptr};
  k.ppf(storage, job, 0, n);
  job.out = again.data.get();
  run_split(k.ppf, storage, job, 33);
  check(p == again, "law: a split changed the quantiles", k.level, n);
  for (int64 i = 0; i < n; ++i) {
    const int64 row = i / layout.inner;
    const double edge = rows.c[row] * rows.t[row] * (1.0 + 1e-6);
    check(std::fabs(value(p, storage, i)) <= edge, "law: a quantile outside the cone", k.level, n);
  }
  try_transport(k, layout, storage, rows, x);
}

/// The training pair with given schedules, with every named one, and with named signals alone.
void try_pairs(const Kernels& k, const Layout& layout, Storage storage, const Rows& rows,
               const Bytes& x) {
  const Parameter t = Rows::of(rows.t, layout), a = Rows::of(rows.a, layout),
                  c = Rows::of(rows.c, layout), f = Rows::of(rows.f, layout), none = {};
  Bytes x_t(x.size), dx_t(x.size), again(x.size), again_dx(x.size);
  kacflow::PairJob job{layout,       kNoTiling,      {nullptr, 7, 123}, a, c, t, f, f, f, 0, 0, 1.0,
                       x.data.get(), x_t.data.get(), dx_t.data.get()};
  for (int64 i = 0; i <= 2 * kac::kLambdaSignal; ++i) {
    const bool both = i > 0 && i <= kac::kLambdaSignal;
    job.signal_kind = i > kac::kLambdaSignal ? i - kac::kLambdaSignal : i;
    job.clock_kind = both ? 1 + i % kac::kSquareClock : 0;
    job.clock = i ? f : t;  // times: all in [0, 1]
    job.signal = both ? none : f;
    job.dclock = both ? none : f;
    job.dsignal = i ? none : f;
    job.x_t = x_t.data.get();
    job.dx_t = dx_t.data.get();
    k.sample_pair(storage, job, 0, layout.size);
    job.x_t = again.data.get();
    job.dx_t = again_dx.data.get();
    run_split(k.sample_pair, storage, job, 65);
    check(x_t == again && dx_t == again_dx, "pair: a split changed the result", k.level,
          layout.size);
  }
}

void try_layout(const Kernels& k, const Layout& layout, Storage storage) {
  const int64 n = layout.size, bytes = n * width(storage);
  const Rows rows(layout.rows);
  const bool wide = storage == Storage::kFloat32 || storage == Storage::kFloat64;
  const Parameter t = Rows::of(rows.t, layout), a = Rows::of(rows.a, layout),
                  c = Rows::of(rows.c, layout);
  Bytes x(bytes), v(bytes), again(bytes), again_dt(bytes), dt(bytes);

  if (wide) {
    kacflow::SampleJob job{layout, kNoTiling, {nullptr, 42, ~0ull - 10}, t, a, c, x.data.get()};
    k.sample(storage, job, 0, n);
    job.out = again.data.get();
    run_split(k.sample, storage, job, 37);
    check(x == again, "sample: a split changed the result", k.level, n);
    for (int64 i = 0; i < n; ++i) {
      const int64 row = i / layout.inner;
      const double edge = rows.c[row] * rows.t[row] * (1.0 + 1e-6);
      check(std::fabs(value(x, storage, i)) <= edge, "sample: outside the cone", k.level, n);
    }
    try_law(k, layout, storage, rows, x);
  } else {
    for (int64 i = 0; i < bytes; ++i) x.data[i] = static_cast<unsigned char>(i * 131 + 7);
  }
  try_pairs(k, layout, storage, rows, x);

  PointJob job{layout, kNoTiling, t, a, c, {}, x.data.get(), v.data.get(), nullptr};
  k.velocity(storage, job, 0, n);
  job.out = again.data.get();
  run_split(k.velocity, storage, job, 129);
  check(v == again, "velocity: a split changed the result", k.level, n);
  for (int64 i = 0; wide && i < n; ++i) {
    const double limit = rows.c[i / layout.inner] * (1.0 + 1e-6);
    check(std::fabs(value(v, storage, i)) <= limit, "velocity: above c", k.level, n);
  }
  job.out = v.data.get();
  job.out_dt = dt.data.get();
  k.velocity_grad(storage, job, 0, n);
  job.out = again.data.get();
  job.out_dt = again_dt.data.get();
  run_split(k.velocity_grad, storage, job, 129);
  check(v == again && dt == again_dt, "velocity_grad: a split changed the result", k.level, n);
}

/// Whole paths: strided grids of awkward lengths, split and at the light cone.
template <class T>
void try_paths(const Kernels& k, const Layout& layout, Storage storage) {
  const int64 n = layout.size, n0 = layout.rows / layout.n1;
  const Rows values(layout.rows);
  for (int64 points : {1, 2, 16, 17}) {
    std::vector<T> times(static_cast<std::size_t>(n0 * points));
    for (int64 i = 0; i < n0; ++i) {
      T t = i % 2 ? T(0) : T(1e-30);
      for (int64 j = 0; j < points; ++j) {
        times[static_cast<std::size_t>(i * points + j)] = t;
        t += j % 3 ? std::nextafter(t, T(1e9)) - t : T(0.1) * static_cast<T>(j + 1);
      }
    }
    Bytes x(n * points * static_cast<int64>(sizeof(T))), d(x.size), again(x.size), again_d(x.size);
    kacflow::PathJob job{layout,
                         kNoTiling,
                         {nullptr, 3, ~0ull - 20},
                         Rows::of(values.a, layout),
                         Rows::of(values.c, layout),
                         {times.data(), points, n0 > 1 ? points : 0, 0, 1},
                         x.data.get(),
                         d.data.get()};
    k.sample_path(storage, job, 0, n);
    job.positions = again.data.get();
    job.directions = again_d.data.get();
    run_split(k.sample_path, storage, job, 37);
    check(x == again && d == again_d, "path: a split changed the result", k.level, n);
    for (int64 e = 0; e < n; ++e) {
      const int64 row = e / layout.inner;
      const T c = static_cast<T>(values.c[static_cast<std::size_t>(row)]);
      const T* const t = times.data() + row / layout.n1 * points;
      T from = 0, since = 0;
      for (int64 j = 0; j < points; ++j) {
        const T here = reinterpret_cast<const T*>(x.data.get())[e * points + j];
        const T way = reinterpret_cast<const T*>(d.data.get())[e * points + j];
        check(std::fabs(here - from) <= c * (t[j] - since), "path: outside the cone", k.level, n);
        check(way == T(1) || way == T(-1), "path: no direction", k.level, n);
        from = here;
        since = t[j];
      }
    }
  }
}

/// Turning times, few and many on a path.
void try_events(const Kernels& k, const Layout& layout) {
  const int64 n = layout.size;
  Rows rows(layout.rows);
  for (std::size_t i = 0; i < rows.t.size(); ++i) {
    const double expected[] = {0.0, 1e-3, 2.0, 30.0, 70.0, 300.0};
    rows.t[i] = expected[i % 6] / rows.a[i];
  }
  std::vector<int64> counts(static_cast<std::size_t>(n)), twins(counts.size());
  std::vector<int64> offsets(counts.size() + 1, 0);
  std::vector<double> directions(counts.size());
  kacflow::EventJob job{layout,
                        kNoTiling,
                        {nullptr, 9, ~0ull - 20},
                        Rows::of(rows.t, layout),
                        Rows::of(rows.a, layout),
                        counts.data(),
                        directions.data(),
                        nullptr,
                        nullptr};
  k.count_events(Storage::kFloat64, job, 0, n);
  job.counts = twins.data();
  run_split(k.count_events, Storage::kFloat64, job, 37);
  check(counts == twins, "events: a split changed the counts", k.level, n);
  for (std::size_t e = 0; e < counts.size(); ++e) offsets[e + 1] = offsets[e] + counts[e];
  std::vector<double> times(static_cast<std::size_t>(offsets.back())), again(times.size());
  job.offsets = offsets.data();
  job.times = times.data();
  k.fill_events(Storage::kFloat64, job, 0, n);
  job.times = again.data();
  run_split(k.fill_events, Storage::kFloat64, job, 37);
  check(times == again, "events: a split changed the times", k.level, n);
  for (int64 e = 0; e < n; ++e) {
    const double t_max = rows.t[static_cast<std::size_t>(e / layout.inner)];
    double before = 0.0;
    for (int64 i = offsets[static_cast<std::size_t>(e)];
         i < offsets[static_cast<std::size_t>(e + 1)]; ++i) {
      const double t = times[static_cast<std::size_t>(i)];
      check(before <= t && t <= t_max, "events: out of order", k.level, n);
      before = t;
    }
  }
}

/// Splines of some bins, n1 of them for every layout of rows: split, and there and back.
template <class T>
void try_splines(const Kernels& k, const Layout& layout, Storage storage) {
  const int64 n = layout.size, n1 = layout.n1, rows = layout.rows / n1;
  for (int64 bins : {1, 2, 3, 8, 33}) {
    std::vector<T> edges, values, slopes, x(static_cast<std::size_t>(n));
    for (int64 i = 0; i < n1 * (bins + 1); ++i) {
      edges.push_back(static_cast<T>(i % (bins + 1)) - T(1));
      values.push_back(T(2) * edges.back() + T(0.3) * static_cast<T>(i % 3));
      slopes.push_back(T(0.5) + static_cast<T>(i % 7));
    }
    for (int64 i = 0; i < n; ++i) {
      const T place = static_cast<T>(i % (2 * bins + 9)) * T(0.5) - T(3);  // knots are among them
      x[static_cast<std::size_t>(i)] = i % 5 ? place : std::nextafter(place, T(0));
    }
    Bytes y(n * static_cast<int64>(sizeof(T))), slope(y.size), again(y.size), again_slope(y.size);
    kacflow::SplineJob job{layout,
                           kNoTiling,
                           bins,
                           edges.data(),
                           values.data(),
                           slopes.data(),
                           x.data(),
                           y.data.get(),
                           slope.data.get(),
                           nullptr,
                           nullptr,
                           0,
                           0,
                           0};
    k.spline(storage, job, 0, n);
    job.out = again.data.get();
    job.out_slope = again_slope.data.get();
    run_split(k.spline, storage, job, 37);
    check(y == again && slope == again_slope, "spline: a split changed the result", k.level, n);

    job.x = y.data.get();
    run_split(k.spline_inverse, storage, job, 71);
    for (int64 i = 0; i < n; ++i) {
      const double error =
          value(again, storage, i) - static_cast<double>(x[static_cast<std::size_t>(i)]);
      check(std::fabs(error) < 1e-4, "spline: not the inverse", k.level, n);
    }

    for (int64 part : {int64(1), int64(3), rows + 5}) {
      const int64 parts = (rows + part - 1) / part, sums = parts * n1 * 3 * (bins + 1);
      Bytes total(sums * static_cast<int64>(sizeof(T))), twin(total.size);
      kacflow::SplineJob grad = job;
      grad.layout = layout_of(parts, n1, 1);
      grad.x = x.data();
      grad.grad_y = grad.grad_slope = slope.data.get();
      grad.rows = rows;
      grad.inner = layout.inner;
      grad.part = part;
      grad.out_slope = total.data.get();
      k.spline_grad(storage, grad, 0, grad.layout.size);
      grad.out = again_slope.data.get();
      grad.out_slope = twin.data.get();
      run_split(k.spline_grad, storage, grad, 5);
      check(total == twin && again == again_slope, "spline_grad: a split changed the result",
            k.level, n);
    }
  }
}

/// Positions that are not numbers, or far outside the cone.
void try_strange_data(const Kernels& k) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x = {0.0f, -0.0f, 1e-45f, 1e38f, -1e38f, inf, -inf, std::nanf(""), 1.0f};
  std::vector<float> out(x.size()), out_dt(x.size());
  const int64 n = static_cast<int64>(x.size());
  const Parameter one = {nullptr, 1.0, 0, 0, 0}, zero = {};
  for (const Parameter& t : {zero, one}) {
    PointJob job{layout_of(1, 1, n), kNoTiling, t, one, one, one, x.data(), out.data(), nullptr};
    k.velocity(Storage::kFloat32, job, 0, n);
    check(std::isnan(out[7]) && out[5] == 1.0f && out[6] == -1.0f && out[0] == 0.0f,
          "velocity: NaN, infinity or zero", k.level, n);
    for (const auto kernel : {k.pdf, k.logpdf, k.cdf, k.ppf}) {
      kernel(Storage::kFloat32, job, 0, n);
      check(std::isnan(out[7]), "law: NaN", k.level, n);
      const bool finite = kernel == k.pdf || kernel == k.cdf;
      check(!finite || (out[6] == 0.0f && out[4] == 0.0f), "law: far left", k.level, n);
      check(kernel != k.ppf || (std::isnan(out[5]) && std::isnan(out[4])), "law: no probability",
            k.level, n);
    }
    k.transport(Storage::kFloat32, job, 0, n);  // to the time 1
    check(std::isnan(out[7]) && out[0] == 0.0f && out[5] == 1.0f && out[6] == -1.0f,
          "transport: NaN, infinity or zero", k.level, n);
    job.out_dt = out_dt.data();
    k.velocity_grad(Storage::kFloat32, job, 0, n);
  }
}

/// A row that is no process: NaN, whatever is computed of it.
void try_no_process(const Kernels& k) {
  const Parameter one = {nullptr, 1.0, 0, 0, 0};
  for (double bad : {-0.5, std::nan("")}) {
    const Parameter t = {nullptr, bad, 0, 0, 0};
    float x[67] = {}, first[67], second[67];
    const Layout layout = layout_of(1, 1, 67);
    PointJob job{layout, kNoTiling, t, one, one, one, x, first, second};
    for (const auto kernel : {k.velocity_grad, k.pdf, k.logpdf, k.cdf, k.ppf, k.transport}) {
      kernel(Storage::kFloat32, job, 0, 67);
      for (float v : first) check(std::isnan(v), "a number without a process", k.level, 67);
    }
    kacflow::SampleJob draw{layout, kNoTiling, {nullptr, 1, 0}, t, one, one, first};
    k.sample(Storage::kFloat32, draw, 0, 67);
    for (float v : first) check(std::isnan(v), "a draw without a process", k.level, 67);
  }
}

/// Many elements through parallel_for, against one thread.
void try_threads(const Kernels& k) {
  const Layout layout = layout_of(1000, 1, 133);
  const Rows rows(1000);
  Bytes one(layout.size * 4), many(layout.size * 4);
  kacflow::SampleJob job{layout,
                         kNoTiling,
                         {nullptr, 5, 0},
                         Rows::of(rows.t, layout),
                         Rows::of(rows.a, layout),
                         Rows::of(rows.c, layout),
                         one.data.get()};
  k.sample(Storage::kFloat32, job, 0, layout.size);
  job.out = many.data.get();
  struct Task {
    const Kernels* k;
    const kacflow::SampleJob* job;
  } task{&k, &job};
  kacflow::parallel_for(
      layout.size, 1024, 4,
      [](const void* p, int64 begin, int64 end) {
        const Task& t = *static_cast<const Task*>(p);
        t.k->sample(Storage::kFloat32, *t.job, begin, end);
      },
      &task);
  check(one == many, "sample: threads changed the result", k.level, layout.size);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) g_failures += kacflow::count_wrong_answers(argv[1]);
  int tried = 0;
  for (const Kernels* const* level = kacflow::usable_kernels(); *level; ++level) {
    for (Storage storage :
         {Storage::kFloat32, Storage::kFloat64, Storage::kBFloat16, Storage::kFloat16}) {
      for (int64 n0 : {1, 2, 13, 70}) {
        for (int64 n1 : {1, 3}) {
          for (int64 inner : {1, 2, 3, 5, 16, 31, 32, 64, 65, 129}) {
            const Layout layout = layout_of(n0, n1, inner);
            try_layout(**level, layout, storage);
            if (storage == Storage::kFloat32) {
              try_paths<float>(**level, layout, storage);
              try_splines<float>(**level, layout, storage);
            }
            if (storage == Storage::kFloat64) {
              try_paths<double>(**level, layout, storage);
              try_splines<double>(**level, layout, storage);
              try_events(**level, layout);
            }
            ++tried;
          }
        }
      }
    }
    try_strange_data(**level);
    try_no_process(**level);
    try_threads(**level);
    if (argc > 2) g_failures += kacflow::count_failed_jobs(**level, argv[2]);
    std::printf("level %s: done\n", (*level)->level);
  }
  std::printf("%d layouts, %d failures\n", tried, g_failures);
  return g_failures == 0 ? 0 : 1;
}
