// Every CPU kernel at awkward sizes, splits, strides and values, without Python: run under
// AddressSanitizer and UndefinedBehaviorSanitizer by `make sanitize`.  Arrays are allocated to the
// byte, so that a read or write past an end is found.  Besides running clean it checks that splits
// and threads change no bit, that the levels agree, and that |K| <= c t and |v| <= c.  The first
// argument names the file of known answers.
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
