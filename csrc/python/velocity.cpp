#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

// The velocity takes under a nanosecond a number: only large jobs gain from a second thread.
constexpr std::int64_t kGrain = 65536;

void run(const VelocityJob& job, int threads) {
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), kGrain, threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().velocity(*static_cast<const VelocityJob*>(p), begin, end);
      },
      &job);
}

VelocityJob to_job(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage,
                   const py::array& x, const py::array& t, const py::array& a, const py::array& c) {
  VelocityJob job;
  job.layout = to_layout(n0, n1, inner);
  job.storage = to_storage(storage);
  job.x = to_input(x, "x", job.layout, job.storage);
  job.t = to_parameter(t, "t", job.layout);
  job.a = to_parameter(a, "a", job.layout);
  job.c = to_parameter(c, "c", job.layout);
  job.out = nullptr;
  job.out_dt = nullptr;
  return job;
}

void velocity(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage, const py::array& x,
              py::array out, const py::array& t, const py::array& a, const py::array& c,
              int threads) {
  VelocityJob job = to_job(n0, n1, inner, storage, x, t, a, c);
  job.out = to_output(out, "out", job.layout, job.storage);
  run(job, threads);
}

void velocity_grad(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage,
                   const py::array& x, py::array dv_dx, py::array dv_dt, const py::array& t,
                   const py::array& a, const py::array& c, int threads) {
  VelocityJob job = to_job(n0, n1, inner, storage, x, t, a, c);
  job.out = to_output(dv_dx, "dv_dx", job.layout, job.storage);
  job.out_dt = to_output(dv_dt, "dv_dt", job.layout, job.storage);
  run(job, threads);
}

}  // namespace

void register_velocity(py::module_& m) {
  m.def("velocity", &velocity);
  m.def("velocity_grad", &velocity_grad);
}

}  // namespace kacflow
