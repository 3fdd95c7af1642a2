// Jobs arrive as bytes that kacflow_core/backends/_jobs.py packed; see there and csrc/jobs.h.
#include "run.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

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

/// Cost of an element by the grain of its operation (KACFLOW_NATIVE_OPERATIONS).
template <class Job>
int64 cost(const Job&, int64 grain) {
  return grain;
}
int64 cost(const PathJob& job, int64 grain) { return grain * std::max(job.times.n, int64(1)); }
/// Parts of splines cost as many numbers as they have.
int64 cost(const SplineJob& job, int64 grain) {
  return grain * (job.part ? std::max(std::min(job.part, job.rows) * job.inner, int64(1)) : 1);
}
/// By the events of up to 64 rows.
int64 cost(const EventJob& job, int64 grain) {
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
  return static_cast<int64>(static_cast<double>(grain) * (1.0 + std::min(events, 1e12)));
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
void run_job(int64 grain, Kernel<Job> kernel, Storage storage, const char* bytes, int threads) {
  Job job;
  std::memcpy(&job, bytes, sizeof job);
  const int64 size = job.layout.size, each = cost(job, grain);
  if (size * each < 2 * 8 * 16384) {  // no second thread, and others need not run
    if (size > 0) kernel(storage, job, 0, size);
    return;
  }
  const int64 lanes =
      std::clamp(8 * kWork / each, int64(1), most_lanes(job));  // paths of many events
  const int64 per_block = lanes * each;
  const int64 fewest = std::max(int64(8) * 16384 / per_block, int64(1));
  const int64 blocks = (size + lanes - 1) / lanes;
  const int64 step = std::max(8 * kWork / per_block, int64(threads));
  Work<Job> work = {storage, &job, kernel, lanes, 0};
  for (; work.first < blocks; work.first += step) {
    {
      const py::gil_scoped_release others_run;
      parallel_for(
          std::min(step, blocks - work.first), fewest, threads,
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
#define KACFLOW_ENTRY(name, Job, storages, grain)                                    \
  {#name, storages, sizeof(Job), [](Storage storage, const char* job, int threads) { \
     run_job<Job>(grain, kernels().name, storage, job, threads);                     \
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

/// Puts words into a job: seed and offset if it draws, the first parameters' pointers or values
/// (floats), and the data's pointers.
void patch(const Places& places, PyObject* const* values, Py_ssize_t n, char* job) {
  bool good = true;
  for (int i = 1; places.noise && i <= 2; ++i) {
    good = good && put_word(*values++, job + (places.noise + i) * kWord);
  }
  for (Py_ssize_t i = 0; i < n; ++i, ++values) {
    char* const parameter = job + (places.parameters + 5 * i) * kWord;
    good = good && put_word(*values, parameter + (PyFloat_CheckExact(*values) ? kWord : 0));
  }
  for (int i = 0; i < places.n_pointers; ++i) {
    good = good && put_word(*values++, job + (places.pointers + i) * kWord);
  }
  if (!good) throw py::error_already_set();
}

constexpr Places kPlaces[] = {
#define KACFLOW_PLACES(name, Job, storages, grain) places(static_cast<const Job*>(nullptr)),
    KACFLOW_NATIVE_OPERATIONS(KACFLOW_PLACES)
#undef KACFLOW_PLACES
};

/// Python's error for what is thrown while `f` runs, and null then.
template <class F>
PyObject* guarded(F f) {
  try {
    return f();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

/// A copy of the job for the operation with a number.
struct Copy {
  long number;
  char job[sizeof(PairJob)];

  Copy(PyObject* operation, PyObject* given) : number(PyLong_AsLong(operation)) {
    char* bytes = nullptr;
    Py_ssize_t size = 0;
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(given, &bytes, &size) != 0) {
      throw py::error_already_set();
    }
    if (number < 0 || number >= static_cast<long>(4 * std::size(kEntries)) ||
        static_cast<std::size_t>(size) != kEntries[number / 4].job_size) {
      throw py::value_error("job: size does not match the kernel");
    }
    std::memcpy(job, bytes, static_cast<std::size_t>(size));
  }
};

/// The smallest and the largest of numbers, NaN if one is, and (inf, -inf) if there are none.
struct Range {
  double low, high;

  /// Whether all of them lie in the pair of floats `box`.
  bool within(PyObject* box) const {
    if (!PyTuple_Check(box) || PyTuple_GET_SIZE(box) != 2) throw py::type_error("run: box");
    const double least = PyFloat_AsDouble(PyTuple_GET_ITEM(box, 0));
    const double most = PyFloat_AsDouble(PyTuple_GET_ITEM(box, 1));
    if (PyErr_Occurred()) throw py::error_already_set();
    return low >= least && high <= most;
  }
  py::object pair() const { return py::make_tuple(low, high); }
};

/// Ranges of numbers side by side in lanes.
template <class T>
struct Lanes {
  static constexpr int kSide = 16;
  T low[kSide], high[kSide], odd[kSide];  ///< odd: NaN where there was one

  Lanes() {
    for (int l = 0; l < kSide; ++l) {
      low[l] = kac::infinity(T(0));
      high[l] = -low[l];
      odd[l] = T(0);
    }
  }
  /// n numbers, `step` bytes apart.
  void add(const char* base, Py_ssize_t n, Py_ssize_t step) {
    T x[kSide];
    Py_ssize_t j = 0;
    for (; step == sizeof(T) && j + kSide <= n; j += kSide) {
      std::memcpy(x, base + j * step, sizeof x);
      add(x);
    }
    for (; j < n; j += kSide) {
      for (int l = 0; l < kSide; ++l) {  // beyond the end the last again
        std::memcpy(&x[l], base + std::min(j + l, n - 1) * step, sizeof(T));
      }
      add(x);
    }
  }
  void add(const T* x) {
    for (int l = 0; l < kSide; ++l) {
      low[l] = x[l] < low[l] ? x[l] : low[l];
      high[l] = x[l] > high[l] ? x[l] : high[l];
      odd[l] = x[l] == x[l] ? odd[l] : x[l];
    }
  }
  Range range() const {
    T least = low[0], most = high[0], sum = odd[0];
    for (int l = 1; l < kSide; ++l) {
      least = std::min(least, low[l]);
      most = std::max(most, high[l]);
      sum += odd[l];
    }
    return sum == sum ? Range{least, most} : Range{sum, sum};
  }
};

/// The axes of an array, those of length one left out and those in a row made one.
struct Axes {
  struct Axis {
    Py_ssize_t n, step;  ///< step in bytes
  };
  std::vector<Axis> axes;
  bool empty = false;

  /// One more, from the last to the first.
  void put(Py_ssize_t n, Py_ssize_t step) {
    empty = empty || n == 0;
    if (n == 1) return;
    if (!axes.empty() && step == axes.back().n * axes.back().step) {
      axes.back().n *= n;
    } else {
      axes.push_back({n, step});
    }
  }
  template <class T>
  Range range(const void* data) {
    Lanes<T> found;
    if (axes.empty()) axes.push_back({1, 0});
    std::iter_swap(axes.begin(), std::max_element(axes.begin(), axes.end(), [](auto l, auto r) {
                     return l.n < r.n;
                   }));  // long rows are read faster
    if (!empty) add(found, static_cast<const char*>(data), axes.size());
    return found.range();
  }
  template <class T>
  void add(Lanes<T>& to, const char* base, std::size_t count) const {
    const auto [n, step] = axes[count - 1];
    if (count == 1) return to.add(base, n, step);
    for (Py_ssize_t i = 0; i < n; ++i) add(to, base + i * step, count - 1);
  }
};

Range range_of(const Parameter& p, const Layout& layout) {
  if (!p.data) return {p.value, p.value};
  const Py_ssize_t size = p.is_double ? 8 : 4;
  Axes axes;
  axes.put(p.stride1 ? layout.n1 : 1, p.stride1 * size);
  axes.put(p.stride0 ? layout.rows / layout.n1 : 1, p.stride0 * size);
  return p.is_double ? axes.range<double>(p.data) : axes.range<float>(p.data);
}

/// The ranges of the job's first `n` parameters as pairs; null if all lie in the pairs of `box`.
PyObject* outside(PyObject* box, const Places& at, const char* job, Py_ssize_t n) {
  bool inside = PyTuple_Check(box) && PyTuple_GET_SIZE(box) == n;
  if (!inside && (!PyTuple_Check(box) || PyTuple_GET_SIZE(box))) {
    throw py::type_error("run: box");
  }
  Layout layout;
  std::memcpy(&layout, job, sizeof layout);
  Range found[6];
  static_assert(places(static_cast<const PairJob*>(nullptr)).n_parameters == 6, "the most");
  for (Py_ssize_t i = 0; i < n; ++i) {
    Parameter p;
    std::memcpy(&p, job + (at.parameters + 5 * i) * kWord, sizeof p);
    found[i] = range_of(p, layout);
    inside = inside && found[i].within(PyTuple_GET_ITEM(box, i));
  }
  if (inside) return nullptr;
  py::tuple pairs(n);
  for (Py_ssize_t i = 0; i < n; ++i) pairs[i] = found[i].pair();
  return pairs.release().ptr();
}

/// run(number, job, box, threads, *words): the job, with these words put into it where there are
/// any, and None; or, where its first parameters, whose words are among these, do not lie in the
/// pairs of `box`, nothing and (least, most) of each.  A box None stands for everything, () for
/// nothing.  By CPython's own calling convention: what a small call is to cost is the kernel.
PyObject* run(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    if (n < 4) throw py::type_error("run: number, job, box and threads");
    Copy copy(arguments[0], arguments[1]);
    const long threads = PyLong_AsLong(arguments[3]);
    if (PyErr_Occurred()) throw py::error_already_set();
    if (n > 4) {
      const Places& at = kPlaces[copy.number / 4];
      const Py_ssize_t count = n - 4 - (at.noise ? 2 : 0) - at.n_pointers;
      if (count < 0 || count > at.n_parameters) throw py::type_error("run: number of words");
      patch(at, arguments + 4, count, copy.job);
      PyObject* const box = arguments[2];
      PyObject* const found = box == Py_None ? nullptr : outside(box, at, copy.job, count);
      if (found) return found;
    }
    kEntries[copy.number / 4].run(static_cast<Storage>(copy.number % 4), copy.job,
                                  static_cast<int>(threads));
    Py_RETURN_NONE;
  });
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

/// extent(address, itemsize, shape, strides, unit): (least, most) of float32 or float64 numbers,
/// strides in units of so many bytes; (nan, nan) if one is NaN, and (inf, -inf) if there are none.
PyObject* extent(PyObject*, PyObject* const* arguments, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    if (n != 5 || !PyTuple_Check(arguments[2]) || !PyTuple_Check(arguments[3]) ||
        PyTuple_GET_SIZE(arguments[2]) != PyTuple_GET_SIZE(arguments[3])) {
      throw py::type_error("extent: address, itemsize, shape, strides, unit");
    }
    const void* const data = PyLong_AsVoidPtr(arguments[0]);
    const Py_ssize_t size = PyLong_AsSsize_t(arguments[1]), unit = PyLong_AsSsize_t(arguments[4]);
    Axes axes;
    for (Py_ssize_t i = PyTuple_GET_SIZE(arguments[2]); i-- > 0;) {
      axes.put(PyLong_AsSsize_t(PyTuple_GET_ITEM(arguments[2], i)),
               PyLong_AsSsize_t(PyTuple_GET_ITEM(arguments[3], i)) * unit);
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return (size == 8 ? axes.range<double>(data) : axes.range<float>(data)).pair().release().ptr();
  });
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
    KACFLOW_METHOD(run, "run(number, job, box, threads, *words)");
  }
  {
    KACFLOW_METHOD(extent, "extent(address, itemsize, shape, strides, unit)");
  }
}

}  // namespace kacflow

// Nothing here changes after the import; a job touches its own bytes and the arrays it was given.
PYBIND11_MODULE(_native, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Compiled CPU kernels of kacflow; use them through kacflow_core.";
  kacflow::register_info(m);
  kacflow::register_run(m);
}
