// Every CPU kernel at awkward sizes, splits, strides and values, without Python: run under
// AddressSanitizer and UndefinedBehaviorSanitizer by `make sanitize`.  Arrays are allocated to the
// byte, so that a read or write past an end is found.  Besides running clean it checks that splits
// and threads change no bit, that the levels agree, that |K| <= c t and |v| <= c, and that paths
// keep to the light cone.  The first argument names the file of known answers.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "../../csrc/native/kernels.h"
#include "../../csrc/native/threads.h"
#include "known_answers.h"

namespace {

using kacflow::Kernels;
using kacflow::LawFunction;
using kacflow::Layout;
using kacflow::Parameter;
using kacflow::Storage;
using std::int64_t;

int g_failures = 0;

void check(bool good, const char* what, const char* level, int64_t size) {
  if (good) return;
  std::printf("FAILED: %s (level %s, %lld elements)\n", what, level, static_cast<long long>(size));
  ++g_failures;
}

/// Exactly n bytes, so that the sanitizer sees their end.
struct Bytes {
  explicit Bytes(int64_t n) : data(new unsigned char[static_cast<std::size_t>(n)]), size(n) {
    std::memset(data.get(), 0xff, static_cast<std::size_t>(n));
  }
  bool operator==(const Bytes& other) const {
    return size == other.size &&
           std::memcmp(data.get(), other.data.get(), static_cast<std::size_t>(size)) == 0;
  }
  std::unique_ptr<unsigned char[]> data;
  int64_t size;
};

int64_t width(Storage s) { return s == Storage::kFloat64 ? 8 : s == Storage::kFloat32 ? 4 : 2; }

double value(const Bytes& b, Storage s, int64_t i) {
  if (s == Storage::kFloat64) return reinterpret_cast<const double*>(b.data.get())[i];
  return static_cast<double>(reinterpret_cast<const float*>(b.data.get())[i]);
}

/// Times, rates and speeds over the whole range, one per row.
struct Rows {
  explicit Rows(int64_t n) : t(n), a(n), c(n), f(n) {
    const double taus[] = {0.0, 1e-30, 1e-6, 0.3, 9.0, 22.5, 39.9, 40.1, 88.0, 310.0, 1e6, 1e15};
    for (int64_t i = 0; i < n; ++i) {
      a[i] = 1.0 + static_cast<double>(i % 7);
      t[i] = taus[i % 12] / a[i];
      c[i] = std::pow(10.0, static_cast<double>(i % 5) - 2.0);
      f[i] = 1.0 - 0.01 * static_cast<double>(i % 100);
    }
  }
  static Parameter of(const std::vector<double>& v, const Layout& layout) {
    Parameter p;
    p.data = v.data();
    p.is_double = true;
    p.stride0 = layout.n1;
    p.stride1 = 1;
    return p;
  }
  std::vector<double> t, a, c, f;
};

template <class Job>
using Kernel = void (*)(const Job&, int64_t, int64_t);

template <class Job>
void run_split(Kernel<Job> kernel, const Job& job, int64_t step) {
  const int64_t n = job.layout.size();
  for (int64_t begin = 0; begin < n; begin += step) {
    kernel(job, begin, begin + step < n ? begin + step : n);
  }
}

/// The law at the draws in x, and the quantiles of its distribution function.
void try_law(const Kernels& k, const Layout& layout, Storage storage, const Rows& rows,
             const Bytes& x) {
  const int64_t n = layout.size();
  const Parameter t = Rows::of(rows.t, layout), a = Rows::of(rows.a, layout),
                  c = Rows::of(rows.c, layout);
  Bytes p(x.size), f(x.size), again(x.size);
  for (LawFunction function : {LawFunction::kPdf, LawFunction::kLogPdf, LawFunction::kCdf}) {
    Bytes& out = function == LawFunction::kCdf ? f : p;
    kacflow::LawJob job{layout, storage, function, t, a, c, x.data.get(), out.data.get()};
    k.law(job, 0, n);
    kacflow::LawJob twin = job;
    twin.out = again.data.get();
    run_split<kacflow::LawJob>(k.law, twin, 71);
    check(out == again, "law: a split changed the result", k.level, n);
    for (int64_t i = 0; i < n; ++i) {
      const double v = value(out, storage, i);
      const bool good = function == LawFunction::kLogPdf ? !std::isnan(v)
                        : function == LawFunction::kPdf  ? v >= 0.0
                                                         : v >= 0.0 && v <= 1.0;
      check(good, "law: a value out of range", k.level, n);
    }
  }
  kacflow::LawJob job{layout, storage, LawFunction::kPpf, t, a, c, f.data.get(), p.data.get()};
  k.law(job, 0, n);
  job.out = again.data.get();
  run_split<kacflow::LawJob>(k.law, job, 33);
  check(p == again, "law: a split changed the quantiles", k.level, n);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = i / layout.inner;
    const double edge = rows.c[row] * rows.t[row] * (1.0 + 1e-6);
    check(std::fabs(value(p, storage, i)) <= edge, "law: a quantile outside the cone", k.level, n);
  }
}

void try_layout(const Kernels& k, const Layout& layout, Storage storage) {
  const int64_t n = layout.size(), bytes = n * width(storage);
  const Rows rows(layout.n0 * layout.n1);
  const bool wide = storage == Storage::kFloat32 || storage == Storage::kFloat64;
  const Parameter t = Rows::of(rows.t, layout), a = Rows::of(rows.a, layout),
                  c = Rows::of(rows.c, layout), f = Rows::of(rows.f, layout);
  Bytes x(bytes), x_t(bytes), dx_t(bytes), again(bytes), again_dx(bytes);

  if (wide) {
    kacflow::SampleJob job{layout, storage, t, a, c, 42, ~0ull - 10, x.data.get()};
    k.sample(job, 0, n);
    kacflow::SampleJob twin = job;
    twin.out = again.data.get();
    run_split<kacflow::SampleJob>(k.sample, twin, 37);
    check(x == again, "sample: a split changed the result", k.level, n);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = i / layout.inner;
      const double edge = rows.c[row] * rows.t[row] * (1.0 + 1e-6);
      check(std::fabs(value(x, storage, i)) <= edge, "sample: outside the cone", k.level, n);
    }
    try_law(k, layout, storage, rows, x);
  } else {
    for (int64_t i = 0; i < bytes; ++i) x.data[i] = static_cast<unsigned char>(i * 131 + 7);
  }

  kacflow::PairJob pair{layout,         storage,        a, c, f, f, t, f, 7, 123, x.data.get(),
                        x_t.data.get(), dx_t.data.get()};
  k.pair(pair, 0, n);
  kacflow::PairJob pair_twin = pair;
  pair_twin.x_t = again.data.get();
  pair_twin.dx_t = again_dx.data.get();
  run_split<kacflow::PairJob>(k.pair, pair_twin, 65);
  check(x_t == again && dx_t == again_dx, "pair: a split changed the result", k.level, n);

  for (void* out_dt : {static_cast<void*>(nullptr), static_cast<void*>(dx_t.data.get())}) {
    kacflow::VelocityJob job{layout, storage, t, a, c, x.data.get(), x_t.data.get(), out_dt};
    k.velocity(job, 0, n);
    kacflow::VelocityJob twin = job;
    twin.out = again.data.get();
    twin.out_dt = out_dt ? again_dx.data.get() : nullptr;
    run_split<kacflow::VelocityJob>(k.velocity, twin, 129);
    check(x_t == again, "velocity: a split changed the result", k.level, n);
    if (wide && !out_dt) {
      for (int64_t i = 0; i < n; ++i) {
        const double limit = rows.c[i / layout.inner] * (1.0 + 1e-6);
        check(std::fabs(value(x_t, storage, i)) <= limit, "velocity: above c", k.level, n);
      }
    }
  }
}

/// Whole paths: strided grids of awkward lengths, split and at the light cone.
template <class T>
void try_paths(const Kernels& k, const Layout& layout, Storage storage) {
  const int64_t n = layout.size(), rows = layout.n0 * layout.n1;
  const Rows values(rows);
  for (int64_t points : {1, 2, 16, 17}) {
    std::vector<T> times(static_cast<std::size_t>(layout.n0 * points));
    for (int64_t i = 0; i < layout.n0; ++i) {
      T t = i % 2 ? T(0) : T(1e-30);
      for (int64_t j = 0; j < points; ++j) {
        times[static_cast<std::size_t>(i * points + j)] = t;
        t += j % 3 ? std::nextafter(t, T(1e9)) - t : T(0.1) * static_cast<T>(j + 1);
      }
    }
    Bytes x(n * points * static_cast<int64_t>(sizeof(T))), d(x.size), again(x.size),
        again_d(x.size);
    kacflow::PathJob job;
    job.layout = layout;
    job.storage = storage;
    job.times = {times.data(), points, layout.n0 > 1 ? points : 0, 0};
    job.a = Rows::of(values.a, layout);
    job.c = Rows::of(values.c, layout);
    job.seed = 3;
    job.offset = ~0ull - 20;
    job.positions = x.data.get();
    job.directions = d.data.get();
    k.path(job, 0, n);
    kacflow::PathJob twin = job;
    twin.positions = again.data.get();
    twin.directions = again_d.data.get();
    run_split<kacflow::PathJob>(k.path, twin, 37);
    check(x == again && d == again_d, "path: a split changed the result", k.level, n);
    for (int64_t e = 0; e < n; ++e) {
      const int64_t row = e / layout.inner;
      const T c = static_cast<T>(values.c[static_cast<std::size_t>(row)]);
      const T* const t = times.data() + row / layout.n1 * points;
      T from = 0, since = 0;
      for (int64_t j = 0; j < points; ++j) {
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
  const int64_t n = layout.size();
  Rows rows(layout.n0 * layout.n1);
  for (std::size_t i = 0; i < rows.t.size(); ++i) {
    const double expected[] = {0.0, 1e-3, 2.0, 30.0, 70.0, 300.0};
    rows.t[i] = expected[i % 6] / rows.a[i];
  }
  std::vector<int64_t> counts(static_cast<std::size_t>(n)), twins(counts.size());
  std::vector<int64_t> offsets(counts.size() + 1, 0);
  std::vector<double> directions(counts.size());
  kacflow::EventJob job;
  job.layout = layout;
  job.t_max = Rows::of(rows.t, layout);
  job.a = Rows::of(rows.a, layout);
  job.seed = 9;
  job.offset = ~0ull - 20;
  job.counts = counts.data();
  job.directions = directions.data();
  k.count_events(job, 0, n);
  job.counts = twins.data();
  run_split<kacflow::EventJob>(k.count_events, job, 37);
  check(counts == twins, "events: a split changed the counts", k.level, n);
  for (std::size_t e = 0; e < counts.size(); ++e) offsets[e + 1] = offsets[e] + counts[e];
  std::vector<double> times(static_cast<std::size_t>(offsets.back())), again(times.size());
  job.offsets = offsets.data();
  job.times = times.data();
  k.fill_events(job, 0, n);
  job.times = again.data();
  run_split<kacflow::EventJob>(k.fill_events, job, 37);
  check(times == again, "events: a split changed the times", k.level, n);
  for (int64_t e = 0; e < n; ++e) {
    const double t_max = rows.t[static_cast<std::size_t>(e / layout.inner)];
    double before = 0.0;
    for (int64_t i = offsets[static_cast<std::size_t>(e)];
         i < offsets[static_cast<std::size_t>(e + 1)]; ++i) {
      const double t = times[static_cast<std::size_t>(i)];
      check(before <= t && t <= t_max, "events: out of order", k.level, n);
      before = t;
    }
  }
}

/// Positions that are not numbers, or far outside the cone.
void try_strange_data(const Kernels& k) {
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> x = {0.0f, -0.0f, 1e-45f, 1e38f, -1e38f, inf, -inf, std::nanf(""), 1.0f};
  std::vector<float> out(x.size()), out_dt(x.size());
  double one = 1.0, zero = 0.0;
  const Parameter p1{&one, true, 0, 0}, p0{&zero, true, 0, 0};
  Layout layout;
  layout.n0 = 1;
  layout.n1 = 1;
  layout.inner = static_cast<int64_t>(x.size());
  for (const Parameter& t : {p0, p1}) {
    kacflow::VelocityJob job{layout, Storage::kFloat32, t, p1, p1, x.data(), out.data(), nullptr};
    k.velocity(job, 0, layout.size());
    check(std::isnan(out[7]) && out[5] == 1.0f && out[6] == -1.0f && out[0] == 0.0f,
          "velocity: NaN, infinity or zero", k.level, layout.size());
    job.out_dt = out_dt.data();
    k.velocity(job, 0, layout.size());
    for (LawFunction function :
         {LawFunction::kPdf, LawFunction::kLogPdf, LawFunction::kCdf, LawFunction::kPpf}) {
      kacflow::LawJob law{layout, Storage::kFloat32, function, t, p1, p1, x.data(), out.data()};
      k.law(law, 0, layout.size());
      check(std::isnan(out[7]), "law: NaN", k.level, layout.size());
      const bool finite = function == LawFunction::kPdf || function == LawFunction::kCdf;
      check(!finite || (out[6] == 0.0f && out[4] == 0.0f), "law: far left", k.level, layout.size());
      check(function != LawFunction::kPpf || (std::isnan(out[5]) && std::isnan(out[4])),
            "law: no probability", k.level, layout.size());
    }
  }
}

/// Many elements through parallel_for, against one thread.
void try_threads(const Kernels& k) {
  Layout layout;
  layout.n0 = 1000;
  layout.n1 = 1;
  layout.inner = 133;
  const Rows rows(1000);
  Bytes one(layout.size() * 4), many(layout.size() * 4);
  kacflow::SampleJob job{layout,
                         Storage::kFloat32,
                         Rows::of(rows.t, layout),
                         Rows::of(rows.a, layout),
                         Rows::of(rows.c, layout),
                         5,
                         0,
                         one.data.get()};
  k.sample(job, 0, layout.size());
  job.out = many.data.get();
  struct Task {
    const Kernels* k;
    const kacflow::SampleJob* job;
  } task{&k, &job};
  kacflow::parallel_for(
      layout.size(), 1024, 4,
      [](const void* p, int64_t begin, int64_t end) {
        const Task& t = *static_cast<const Task*>(p);
        t.k->sample(*t.job, begin, end);
      },
      &task);
  check(one == many, "sample: threads changed the result", k.level, layout.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) g_failures += kacflow::count_wrong_answers(argv[1]);
  int tried = 0;
  for (const Kernels* const* level = kacflow::usable_kernels(); *level; ++level) {
    for (Storage storage :
         {Storage::kFloat32, Storage::kFloat64, Storage::kBFloat16, Storage::kFloat16}) {
      for (int64_t n0 : {1, 2, 13, 70}) {
        for (int64_t n1 : {1, 3}) {
          for (int64_t inner : {1, 2, 3, 5, 16, 31, 32, 64, 65, 129}) {
            Layout layout;
            layout.n0 = n0;
            layout.n1 = n1;
            layout.inner = inner;
            try_layout(**level, layout, storage);
            if (storage == Storage::kFloat32) try_paths<float>(**level, layout, storage);
            if (storage == Storage::kFloat64) {
              try_paths<double>(**level, layout, storage);
              try_events(**level, layout);
            }
            ++tried;
          }
        }
      }
    }
    try_strange_data(**level);
    try_threads(**level);
    std::printf("level %s: done\n", (*level)->level);
  }
  std::printf("%d layouts, %d failures\n", tried, g_failures);
  return g_failures == 0 ? 0 : 1;
}
