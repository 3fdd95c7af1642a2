// The kernels on the CPU: every block of a grid, one after the other, through the phases and
// barriers of csrc/cuda/phases.h.  Built as a shared library and driven by
// tests/core/test_simulated_grid.py with the jobs and launch plans that a GPU would get.
//
// Shared memory is allocated to the byte and filled with 0xff before each block, so that an entry
// that no thread wrote gives NaN.  With -DKAC_SIMULATE_NEAR the approximate operations of near.h
// are wrong by as much as a GPU may be, in a direction that changes from number to number.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "../../csrc/cuda/operations.h"
#include "../../csrc/cuda/phases.h"

#if defined(KAC_SIMULATE_NEAR)
namespace kac {
inline namespace KAC_LEVEL {

/// -1, 0 or 1, as good as random in the bits of x.
static float direction(float x) {
  return static_cast<float>(static_cast<int32>((to_bits(x) * 2654435761u >> 16) % 3) - 1);
}

static float normal_or_zero(float x) { return std::fabs(x) < 0x1p-126f ? 0.0f : x; }

/// 1 ulp from the reciprocal, 1/2 from the product.
float near_quotient(float a, float b) {
  const float inverse = 1.0f / normal_or_zero(b);
  return a * normal_or_zero(inverse * (1.0f + 0x1p-23f * direction(b)));
}

float near_sqrt(float x) {
  return normal_or_zero(std::sqrt(normal_or_zero(x)) * (1.0f + 0x1p-23f * direction(x)));
}

/// 2^-22 absolutely, and relatively beyond [1/2, 2].
float near_log2(float x) {
  const float log = std::log2(x);
  return log + 0x1p-22f * direction(x) * std::fmax(std::fabs(log), 1.0f);
}

}  // namespace KAC_LEVEL
}  // namespace kac
#endif

namespace {

using namespace kacflow;
using namespace kacflow::device;

/// All threads of a block, as csrc/cuda/phases.h asks for.  Between two barriers they run one after
/// the other, in one order and then in the other: what a barrier is missing for comes out wrong.
template <class State>
class AllThreads {
 public:
  AllThreads(uint32 block, uint32 threads) : block_(block), states_(threads) {}
  uint32 threads() const { return static_cast<uint32>(states_.size()); }
  template <class Function>
  void each(const Function& function) {
    phase_.push_back(function);
  }
  void barrier() {
    for (uint32 i = 0; i < threads(); ++i) {
      const uint32 thread = backwards_ ? threads() - 1 - i : i;
      for (const auto& step : phase_) step({block_, thread, threads()}, &states_[thread]);
    }
    phase_.clear();
    backwards_ = !backwards_;
  }

 private:
  uint32 block_;
  std::vector<State> states_;
  std::vector<std::function<void(const Place&, State*)>> phase_;
  bool backwards_ = false;
};

template <class Op, bool kWhole>
int simulate(unsigned begin, unsigned end, unsigned threads, std::size_t shared_bytes,
             const void* bytes, std::size_t size) {
  typename Op::Job job;
  if (size != sizeof job) return 1;
  std::memcpy(&job, bytes, size);
  void* const shared = std::aligned_alloc(16, shared_bytes);
  for (uint32 block = begin; block < end; ++block) {
    std::memset(shared, 0xff, shared_bytes);
    AllThreads<typename Phases<Op, kWhole>::State> all(block, threads);
    Phases<Op, kWhole>::run(job, shared, &all);
    all.barrier();
  }
  std::free(shared);
  return 0;
}

}  // namespace

namespace {

/// 0, 1 if the job has another size, 2 if there is no such operation.
int run(const char* name, const char* storage, int whole, unsigned begin, unsigned end,
        unsigned threads, std::size_t shared, const void* job, std::size_t size) {
#define KACFLOW_TRY(operation, Op, stored, Type)                                      \
  if (std::string(name) == #operation && std::string(storage) == #stored) {           \
    return whole ? simulate<Op<Type>, true>(begin, end, threads, shared, job, size)   \
                 : simulate<Op<Type>, false>(begin, end, threads, shared, job, size); \
  }
  KACFLOW_NOISE_OPERATIONS(KACFLOW_TRY)
  KACFLOW_POINT_OPERATIONS(KACFLOW_TRY)
  KACFLOW_PATH_OPERATIONS(KACFLOW_TRY)
  KACFLOW_LAW_OPERATIONS(KACFLOW_TRY)
  KACFLOW_TRANSPORT_OPERATIONS(KACFLOW_TRY)
  KACFLOW_SPLINE_OPERATIONS(KACFLOW_TRY)
  return 2;
}

}  // namespace

extern "C" int kacflow_simulate(const char* name, const char* storage, int whole, unsigned blocks,
                                unsigned threads, std::size_t shared, const void* job,
                                std::size_t size) {
  return run(name, storage, whole, 0, blocks, threads, shared, job, size);
}

extern "C" int kacflow_simulate_block(const char* name, const char* storage, int whole,
                                      unsigned block, unsigned threads, std::size_t shared,
                                      const void* job, std::size_t size) {
  return run(name, storage, whole, block, block + 1, threads, shared, job, size);
}

/// Bytes of a table entry, or 0 if there is no such operation.
extern "C" std::size_t kacflow_entry_bytes(const char* name, const char* storage) {
#define KACFLOW_SIZE(operation, Op, stored, Type)                           \
  if (std::string(name) == #operation && std::string(storage) == #stored) { \
    return sizeof(Entry<Op<Type>::Row>);                                    \
  }
  KACFLOW_NOISE_OPERATIONS(KACFLOW_SIZE)
  KACFLOW_POINT_OPERATIONS(KACFLOW_SIZE)
  KACFLOW_PATH_OPERATIONS(KACFLOW_SIZE)
  KACFLOW_LAW_OPERATIONS(KACFLOW_SIZE)
  KACFLOW_TRANSPORT_OPERATIONS(KACFLOW_SIZE)
  KACFLOW_SPLINE_OPERATIONS(KACFLOW_SIZE)
  return 0;
}
