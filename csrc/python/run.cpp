// Jobs arrive as bytes that kacflow_core/backends/_jobs.py packed; see there and csrc/jobs.h.
#include "run.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>

#include "../native/kernels.h"
#include "../native/threads.h"

namespace kacflow {
namespace {

namespace py = pybind11;

/// An operation for one storage format, as run() calls it by its number.
struct Entry {
  const char* name;
  int storages;  ///< see KACFLOW_NATIVE_OPERATIONS
  std::size_t job_size;
  void (*run)(Storage, const char* job, int threads);
};

constexpr int64 kLanes = 64;             ///< elements that most kernels compute side by side
constexpr int64 kWork = int64(1) << 25;  ///< numbers, or so, between two looks for Ctrl-C

/// Cost of an element next to a draw of K(t), times 8; its inverse is how few elements are worth a
/// thread.  The velocity takes under a nanosecond, a function of the law tens, a quantile hundreds.
template <class Job>
int64 cost(const Job&, const std::string&) {
  return 8;
}
int64 cost(const PointJob&, const std::string& name) {
  return name == "velocity" || name == "velocity_grad" ? 2 : 64;
}
int64 cost(const PathJob& job, const std::string&) { return 8 * std::max(job.times.n, int64(1)); }
/// Parts of splines cost as many numbers as they have.
int64 cost(const SplineJob& job, const std::string& name) {
  return name == "spline_grad" ? 8 * std::max(std::min(job.part, job.rows) * job.inner, int64(1))
                               : 4;
}
/// By the events of up to 64 rows.
int64 cost(const EventJob& job, const std::string&) {
  const auto value = [&](const Parameter& p, int64 row) {
    const int64 k = row / job.layout.n1 * p.stride0 + row % job.layout.n1 * p.stride1;
    return !p.data       ? p.value
           : p.is_double ? static_cast<const double*>(p.data)[k]
                         : static_cast<double>(static_cast<const float*>(p.data)[k]);
  };
  const int64 rows = std::min(job.layout.rows, int64(64));
  double events = 0.0;
  for (int64 i = 0; i < rows; ++i) {
    const int64 row = i * (job.layout.rows / rows);
    events += value(job.t_max, row) * value(job.a, row) / static_cast<double>(rows);
  }
  return static_cast<int64>(8.0 * (1.0 + std::min(events, 1e12)));
}

/// Elements that a kernel computes side by side: parts of one spline are none.
template <class Job>
int64 most_lanes(const Job&) {
  return kLanes;
}
int64 most_lanes(const SplineJob& job) { return job.part > 0 && job.layout.n1 == 1 ? 1 : kLanes; }

template <class Job>
struct Work {
  Storage storage;
  const Job* job;
  Kernel<Job> kernel;
  int64 lanes;
  int64 first;
};

/// Runs the job on blocks of up to kLanes elements, and from time to time looks for Ctrl-C.
template <class Job>
void run_job(const char* name, Kernel<Job> kernel, Storage storage, const char* bytes,
             int threads) {
  Job job;
  std::memcpy(&job, bytes, sizeof job);
  const int64 size = job.layout.size;
  if (size * cost(job, name) < 2 * 8 * 16384) {  // no second thread, and others need not run
    if (size > 0) kernel(storage, job, 0, size);
    return;
  }
  const int64 each = cost(job, name);
  const int64 lanes =
      std::clamp(8 * kWork / each, int64(1), most_lanes(job));  // paths of many events
  const int64 per_block = lanes * each;
  const int64 grain = std::max(int64(8) * 16384 / per_block, int64(1));
  const int64 blocks = (size + lanes - 1) / lanes;
  const int64 step = std::max(8 * kWork / per_block, int64(threads));
  Work<Job> work = {storage, &job, kernel, lanes, 0};
  for (; work.first < blocks; work.first += step) {
    {
      const py::gil_scoped_release others_run;
      parallel_for(
          std::min(step, blocks - work.first), grain, threads,
          [](const void* p, long long begin, long long end) {
            const Work<Job>& w = *static_cast<const Work<Job>*>(p);
            w.kernel(w.storage, *w.job, (w.first + begin) * w.lanes,
                     std::min((w.first + end) * w.lanes, w.job->layout.size));
          },
          &work);
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

constexpr Entry kEntries[] = {
#define KACFLOW_ENTRY(name, Job, storages)                                           \
  {#name, storages, sizeof(Job), [](Storage storage, const char* job, int threads) { \
     run_job<Job>(#name, kernels().name, storage, job, threads);                     \
   }},
    KACFLOW_NATIVE_OPERATIONS(KACFLOW_ENTRY)
#undef KACFLOW_ENTRY
};

constexpr const char* kStorages[] = {"float32", "float64", "bfloat16", "float16"};

/// Number of an operation for a storage format, for run.
int find_kernel(const std::string& operation, const std::string& storage) {
  int i = 0;
  for (const Entry& entry : kEntries) {
    for (int s = 0; s < 4; ++s) {
      const bool there = entry.storages == 0 ? s == 1 : s < entry.storages;
      if (there && operation == entry.name && storage == kStorages[s]) return 4 * i + s;
    }
    ++i;
  }
  throw py::value_error("no kernel " + operation + " for " + storage);
}

/// Where the words are that change from call to call.
struct Places {
  int noise;       ///< the seed and the offset follow it; 0: none
  int parameters;  ///< the first of n_parameters
  int n_parameters;
  int pointers;  ///< the first of n_pointers
  int n_pointers;
};

constexpr int kWord = 8;
static_assert(sizeof(Layout) == 4 * kWord && sizeof(Tiling) == 4 * kWord, "words");
static_assert(sizeof(Noise) == 3 * kWord && sizeof(Parameter) == 5 * kWord, "words");

constexpr Places places(const SampleJob*) { return {8, 11, 3, 26, 1}; }
constexpr Places places(const PairJob*) { return {8, 11, 6, 44, 3}; }
constexpr Places places(const PointJob*) { return {0, 8, 4, 28, 3}; }
constexpr Places places(const PathJob*) { return {8, 11, 2, 0, 0}; }
constexpr Places places(const EventJob*) { return {8, 11, 2, 0, 0}; }
constexpr Places places(const SplineJob*) { return {0, 8, 0, 0, 0}; }
static_assert(offsetof(SampleJob, out) == 26 * kWord && offsetof(PairJob, x_0) == 44 * kWord &&
                  offsetof(PointJob, x) == 28 * kWord && offsetof(PointJob, t) == 8 * kWord &&
                  offsetof(PairJob, a) == 11 * kWord && offsetof(PathJob, a) == 11 * kWord,
              "places");

/// One word of a job: a float's bits, or an integer.
bool put_word(PyObject* value, char* at) {
  if (PyFloat_CheckExact(value)) {
    const double x = PyFloat_AS_DOUBLE(value);
    std::memcpy(at, &x, kWord);
    return true;
  }
  const unsigned long long word = PyLong_AsUnsignedLongLong(value);
  std::memcpy(at, &word, kWord);
  return word != static_cast<unsigned long long>(-1) || !PyErr_Occurred();
}

/// Puts seed and offset, the first parameters' pointers or values (floats), and the data's pointers
/// into a job; false with Python's error set where that cannot be.
bool patch(const Places& places, PyObject* const* values, Py_ssize_t n, char* job) {
  const Py_ssize_t parameters = n - (places.noise ? 2 : 0) - places.n_pointers;
  if (parameters < 0 || parameters > places.n_parameters) {
    PyErr_SetString(PyExc_TypeError, "run: number of words");
    return false;
  }
  for (int i = 1; places.noise && i <= 2; ++i) {
    if (!put_word(*values++, job + (places.noise + i) * kWord)) return false;
  }
  for (int i = 0; i < parameters; ++i, ++values) {
    char* const parameter = job + (places.parameters + 5 * i) * kWord;
    if (!put_word(*values, parameter + (PyFloat_CheckExact(*values) ? kWord : 0))) return false;
  }
  for (int i = 0; i < places.n_pointers; ++i) {
    if (!put_word(*values++, job + (places.pointers + i) * kWord)) return false;
  }
  return true;
}

constexpr Places kPlaces[] = {
#define KACFLOW_PLACES(name, Job, storages) places(static_cast<const Job*>(nullptr)),
    KACFLOW_NATIVE_OPERATIONS(KACFLOW_PLACES)
#undef KACFLOW_PLACES
};

/// run(number, job, threads, *words): the job, with these words put into it where there are any.
/// By CPython's own calling convention: what a small call is to cost is the kernel.
PyObject* run(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  try {
    if (n < 3) throw py::type_error("run: number, job and threads");
    const long number = PyLong_AsLong(arguments[0]), threads = PyLong_AsLong(arguments[2]);
    char* bytes = nullptr;
    Py_ssize_t size = 0;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(arguments[1], &bytes, &size) != 0) {
      throw py::error_already_set();
    }
    if (number < 0 || number >= static_cast<long>(4 * std::size(kEntries)) ||
        static_cast<std::size_t>(size) != kEntries[number / 4].job_size) {
      throw py::value_error("job: size does not match the kernel");
    }
    char job[sizeof(PairJob)];
    std::memcpy(job, bytes, static_cast<std::size_t>(size));
    if (n > 3 && !patch(kPlaces[number / 4], arguments + 3, n - 3, job)) {
      throw py::error_already_set();
    }
    kEntries[number / 4].run(static_cast<Storage>(number % 4), job, static_cast<int>(threads));
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

/// Smallest and largest of n0 x n1 numbers, strides in bytes; (nan, nan) if one is NaN, and
/// (inf, -inf) if there are none.
template <class T>
PyObject* extent_of(const char* base, py::ssize_t n0, py::ssize_t step0, py::ssize_t n1,
                    py::ssize_t step1) {
  T low = kac::infinity(T(0)), high = -low;
  bool nan = false;
  for (py::ssize_t i = 0; i < n0; ++i) {
    for (py::ssize_t j = 0; j < n1; ++j) {
      T x;
      std::memcpy(&x, base + i * step0 + j * step1, sizeof x);
      low = x < low ? x : low;
      high = x > high ? x : high;
      nan = nan || x != x;
    }
  }
  if (nan) low = high = kac::quiet_nan(T(0));
  return Py_BuildValue("dd", static_cast<double>(low), static_cast<double>(high));
}

/// address(array): where the first element of an object with the buffer protocol is.
PyObject* address(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  Py_buffer view;
  if (n != 1) {
    PyErr_SetString(PyExc_TypeError, "address: one array");
    return nullptr;
  }
  if (PyObject_GetBuffer(arguments[0], &view, PyBUF_STRIDES) != 0) return nullptr;
  PyObject* const found = PyLong_FromVoidPtr(view.buf);
  PyBuffer_Release(&view);
  return found;
}

/// extent(address, is_double, n0, step0, n1, step1)
PyObject* extent(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  if (n != 6) {
    PyErr_SetString(PyExc_TypeError, "extent: address, is_double, n0, step0, n1, step1");
    return nullptr;
  }
  const auto* const base = static_cast<const char*>(PyLong_AsVoidPtr(arguments[0]));
  Py_ssize_t numbers[4] = {};
  for (int i = 0; i < 4; ++i) numbers[i] = PyLong_AsSsize_t(arguments[2 + i]);
  if (PyErr_Occurred()) return nullptr;
  const auto [n0, step0, n1, step1] = numbers;
  return arguments[1] == Py_True ? extent_of<double>(base, n0, step0, n1, step1)
                                 : extent_of<float>(base, n0, step0, n1, step1);
}

#define KACFLOW_METHOD(name, signature)                                                            \
  static PyMethodDef method = {#name,                                                              \
                               reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&name)), \
                               METH_FASTCALL, signature};                                          \
  m.add_object(#name, py::reinterpret_steal<py::object>(PyCFunction_New(&method, nullptr)))

}  // namespace

void register_run(py::module_& m) {
  m.def("find_kernel", &find_kernel);
  {
    KACFLOW_METHOD(address, "address(array)");
  }
  {
    KACFLOW_METHOD(run, "run(number, job, threads, *words)");
  }
  {
    KACFLOW_METHOD(extent, "extent(address, is_double, n0, step0, n1, step1)");
  }
}

}  // namespace kacflow

// Nothing here changes after the import; a job touches its own bytes and the arrays it was given.
PYBIND11_MODULE(_native, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Compiled CPU kernels of kacflow; use them through kacflow_core.";
  kacflow::register_info(m);
  kacflow::register_run(m);
}
