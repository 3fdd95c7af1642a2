#include <algorithm>

#include "../native/threads.h"
#include "bindings.h"

namespace kacflow {
namespace {

// Intervals, and events, below which a further thread costs more than it saves.
constexpr std::int64_t kGrain = 16384;
// Paths are shared out in blocks of as many lanes as the kernels have.
constexpr std::int64_t kLanes = 64;

void sample_path(std::int64_t n0, std::int64_t n1, std::int64_t inner, int storage,
                 py::array positions, py::array directions, const py::array& times,
                 const py::array& a, const py::array& c, std::uint64_t seed, std::uint64_t offset,
                 int threads) {
  PathJob job;
  job.layout = to_layout(n0, n1, inner);
  job.storage = to_storage(storage);
  job.times = to_grid(times, "times", job.layout, job.storage);
  const Layout numbers = to_layout(job.layout.size(), 1, job.times.n);
  job.positions = to_output(positions, "positions", numbers, job.storage);
  job.directions = to_output(directions, "directions", numbers, job.storage);
  job.a = to_parameter(a, "a", job.layout);
  job.c = to_parameter(c, "c", job.layout);
  job.seed = seed;
  job.offset = offset;
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      (job.layout.size() + kLanes - 1) / kLanes,
      std::max<std::int64_t>(1, kGrain / (kLanes * std::max<std::int64_t>(1, job.times.n))),
      threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        const PathJob& job = *static_cast<const PathJob*>(p);
        kernels().path(job, begin * kLanes, std::min(end * kLanes, job.layout.size()));
      },
      &job);
}

EventJob to_job(const Layout& layout, const py::array& t_max, const py::array& a,
                std::uint64_t seed, std::uint64_t offset) {
  EventJob job;
  job.layout = layout;
  job.t_max = to_parameter(t_max, "t_max", layout);
  job.a = to_parameter(a, "a", layout);
  job.seed = seed;
  job.offset = offset;
  return job;
}

/// Paths for a thread, where each has that many events.
std::int64_t grain(double events) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(kGrain / (1.0 + events)));
}

void count_events(std::int64_t n0, std::int64_t n1, std::int64_t inner, py::array counts,
                  py::array directions, const py::array& t_max, const py::array& a,
                  std::uint64_t seed, std::uint64_t offset, double events, int threads) {
  EventJob job = to_job(to_layout(n0, n1, inner), t_max, a, seed, offset);
  job.counts =
      static_cast<std::int64_t*>(to_output(counts, "counts", job.layout, Storage::kFloat64));
  job.directions =
      static_cast<double*>(to_output(directions, "directions", job.layout, Storage::kFloat64));
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), grain(events), threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().count_events(*static_cast<const EventJob*>(p), begin, end);
      },
      &job);
}

void fill_events(std::int64_t n0, std::int64_t n1, std::int64_t inner, py::array times,
                 const py::array& offsets, const py::array& t_max, const py::array& a,
                 std::uint64_t seed, std::uint64_t offset, double events, int threads) {
  EventJob job = to_job(to_layout(n0, n1, inner), t_max, a, seed, offset);
  job.offsets = static_cast<const std::int64_t*>(
      to_input(offsets, "offsets", to_layout(job.layout.size() + 1, 1, 1), Storage::kFloat64));
  const std::int64_t total = job.offsets[job.layout.size()];
  job.times =
      static_cast<double*>(to_output(times, "times", to_layout(total, 1, 1), Storage::kFloat64));
  kernels();
  py::gil_scoped_release release;
  parallel_for(
      job.layout.size(), grain(events), threads,
      [](const void* p, std::int64_t begin, std::int64_t end) {
        kernels().fill_events(*static_cast<const EventJob*>(p), begin, end);
      },
      &job);
}

}  // namespace

void register_paths(py::module_& m) {
  m.def("sample_path", &sample_path);
  m.def("count_events", &count_events);
  m.def("fill_events", &fill_events);
}

}  // namespace kacflow
