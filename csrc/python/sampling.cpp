#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

// Elements below which a further thread costs more than it saves.
constexpr std::int64_t kGrain = 16384;

void sample(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage, py::array out,
            const py::array& t, const py::array& a, const py::array& c, std::uint64_t seed,
            std::uint64_t offset, int threads) {
  SampleJob job;
  job.layout = to_layout(n0, n1, inner);
  job.storage = to_storage(storage);
  job.out = to_output(out, "out", job.layout, job.storage);
  job.t = to_parameter(t, "t", job.layout);
  job.a = to_parameter(a, "a", job.layout);
  job.c = to_parameter(c, "c", job.layout);
  job.seed = seed;
  job.offset = offset;
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), kGrain, threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().sample(*static_cast<const SampleJob*>(p), begin, end);
      },
      &job);
}

void sample_pair(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage,
                 const py::array& x_0, py::array x_t, py::array dx_t, const py::array& a,
                 const py::array& c, const py::array& signal, const py::array& dsignal,
                 const py::array& clock, const py::array& dclock, std::uint64_t seed,
                 std::uint64_t offset, int threads) {
  PairJob job;
  job.layout = to_layout(n0, n1, inner);
  job.storage = to_storage(storage);
  job.x_0 = to_input(x_0, "x_0", job.layout, job.storage);
  job.x_t = to_output(x_t, "x_t", job.layout, job.storage);
  job.dx_t = to_output(dx_t, "dx_t", job.layout, job.storage);
  job.a = to_parameter(a, "a", job.layout);
  job.c = to_parameter(c, "c", job.layout);
  job.signal = to_parameter(signal, "signal", job.layout);
  job.dsignal = to_parameter(dsignal, "dsignal", job.layout);
  job.clock = to_parameter(clock, "clock", job.layout);
  job.dclock = to_parameter(dclock, "dclock", job.layout);
  job.seed = seed;
  job.offset = offset;
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), kGrain, threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().pair(*static_cast<const PairJob*>(p), begin, end);
      },
      &job);
}

}  // namespace

void register_sampling(py::module_& m) {
  m.def("sample", &sample);
  m.def("sample_pair", &sample_pair);
}

}  // namespace kacflow
