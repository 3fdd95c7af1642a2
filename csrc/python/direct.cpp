#include <vector>

#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

constexpr std::int64_t kGrain = 16384;

/// a and c must lie in [kLeast, kMost], and so must their products with the horizon be: well inside
/// the range of either working type.  Beyond it the general way decides.
constexpr double kLeast = 1e-30, kMost = 1e12;

/// Times may exceed the horizon by their rounding.
constexpr double kSlack = 1e-6;

template <class T>
Parameter per_row(const T* data) {
  Parameter p;
  p.data = data;
  p.is_double = sizeof(T) == sizeof(double);
  p.stride0 = 1;
  return p;
}

Parameter constant(const double* data) {
  Parameter p;
  p.data = data;
  p.is_double = true;
  return p;
}

/// Training pairs for the clock t and a signal that is affine in t, from addresses: what a small
/// batch is to cost is the kernel, and not the way there.  Holds a and c as arrays of one number
/// each, which their owner may change between calls.
class AffinePair {
 public:
  AffinePair(py::array_t<double> a, py::array_t<double> c, double horizon, double slope)
      : a_(std::move(a)), c_(std::move(c)), horizon_(horizon), slope_(slope) {
    if (a_.size() != 1 || c_.size() != 1) throw py::value_error("a, c: one number each");
  }

  /// The pair of `rows` rows of `inner` numbers with signal 1 + slope t; false, and nothing done,
  /// if a parameter or a time is not in its range.
  bool operator()(std::uintptr_t x_0, std::uintptr_t t, std::uintptr_t x_t, std::uintptr_t dx_t,
                  std::int64_t rows, std::int64_t inner, bool is_double, std::uint64_t seed,
                  std::uint64_t offset, int threads) const {
    PairJob job;
    job.layout = to_layout(rows, 1, inner);
    job.storage = is_double ? Storage::kFloat64 : Storage::kFloat32;
    job.x_0 = reinterpret_cast<const void*>(x_0);
    job.x_t = reinterpret_cast<void*>(x_t);
    job.dx_t = reinterpret_cast<void*>(dx_t);
    job.seed = seed;
    job.offset = offset;
    return is_double ? run<double>(&job, reinterpret_cast<const double*>(t), threads)
                     : run<float>(&job, reinterpret_cast<const float*>(t), threads);
  }

 private:
  template <class T>
  bool run(PairJob* job, const T* t, int threads) const {
    const double a = *a_.data(), c = *c_.data();
    const auto fits = [&](double p) {
      return p >= kLeast && p <= kMost && p * horizon_ >= kLeast && p * horizon_ <= kMost;
    };
    if (!fits(a) || !fits(c)) return false;
    const T most = static_cast<T>(horizon_ * (1.0 + kSlack));
    constexpr std::int64_t kOnStack = 1024;
    T few[kOnStack];
    std::vector<T> many;
    const std::int64_t rows = job->layout.n0;
    T* signal = few;
    if (rows > kOnStack) {
      many.resize(static_cast<std::size_t>(rows));
      signal = many.data();
    }
    bool inside = true;
    for (std::int64_t i = 0; i < rows; ++i) {
      inside &= t[i] >= T(0) && t[i] <= most;  // false for NaN
      signal[i] = static_cast<T>(1.0 + slope_ * static_cast<double>(t[i]));
    }
    if (!inside) return false;
    const double one = 1.0;
    job->a = constant(&a);
    job->c = constant(&c);
    job->signal = per_row(signal);
    job->dsignal = constant(&slope_);
    job->clock = per_row(t);
    job->dclock = constant(&one);
    const Kernels& chosen = kernels();
    const std::int64_t size = job->layout.size();
    if (size < kGrain) {
      chosen.pair(*job, 0, size);
      return true;
    }
    py::gil_scoped_release release;
    parallel_for(
        size, kGrain, threads,
        [](const void* p, std::int64_t begin, std::int64_t end) {
          kernels().pair(*static_cast<const PairJob*>(p), begin, end);
        },
        job);
    return true;
  }

  py::array_t<double> a_, c_;
  double horizon_, slope_;
};

}  // namespace

void register_direct(py::module_& m) {
  py::class_<AffinePair>(m, "AffinePair")
      .def(py::init<py::array_t<double>, py::array_t<double>, double, double>())
      .def("__call__", &AffinePair::operator());
}

}  // namespace kacflow
