#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

// Tens of nanoseconds a number, hundreds for a quantile.
constexpr std::int64_t kGrain = 2048;

template <LawFunction function>
void law(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage, const py::array& in,
         py::array out, const py::array& t, const py::array& a, const py::array& c, int threads) {
  LawJob job;
  job.layout = to_layout(n0, n1, inner);
  job.storage = to_storage(storage);
  if (job.storage != Storage::kFloat32 && job.storage != Storage::kFloat64) {
    throw py::value_error("storage: the law is computed in float32 and float64 only");
  }
  job.function = function;
  job.in = to_input(in, "in", job.layout, job.storage);
  job.out = to_output(out, "out", job.layout, job.storage);
  job.t = to_parameter(t, "t", job.layout);
  job.a = to_parameter(a, "a", job.layout);
  job.c = to_parameter(c, "c", job.layout);
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), kGrain, threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().law(*static_cast<const LawJob*>(p), begin, end);
      },
      &job);
}

}  // namespace

void register_law(py::module_& m) {
  m.def("pdf", &law<LawFunction::kPdf>);
  m.def("logpdf", &law<LawFunction::kLogPdf>);
  m.def("cdf", &law<LawFunction::kCdf>);
  m.def("ppf", &law<LawFunction::kPpf>);
}

}  // namespace kacflow
