// What a thread block does, phase by phase, over a Block that says how its threads run:
//
//     block.each(f)    every thread does f(its place, its own state), a State
//     block.barrier()  no thread goes on before all have come here
//
// On a GPU a Block is one thread, and the barrier is the hardware's (kernel.h); on the CPU it is a
// loop over all threads (tests/native/simulated_grid.cpp).  There each() is done later, so that
// what lies between two barriers is done by one thread after the other: functions keep copies of
// what changes.
#ifndef KACFLOW_CUDA_PHASES_H_
#define KACFLOW_CUDA_PHASES_H_

#include "path_ops.h"
#include "spline_ops.h"
#include "tiles.h"

namespace kacflow {
namespace device {

/// An operation on tiles: the table of rows and the first inputs, then the results.
template <class Op, bool kWhole>
struct Phases {
  using State = Thread<Op, kWhole>;

  template <class Block>
  static KAC_FN void run(const typename Op::Job& job, void* shared, Block* block) {
    auto* const table = static_cast<Table<typename Op::Row>*>(shared);
    block->each([&job, table](const Place& at, State* thread) {
      fill_table<Op>(job, at, table);
      thread->begin(job, at);
    });
    block->barrier();
    block->each([&job, table](const Place& at, State* thread) { thread->finish(job, at, *table); });
  }
};

/// A walk along paths, in rounds of intervals: their constants, the steps, the results.
template <class Real, bool kWhole>
struct Phases<PathOp<Real>, kWhole> {
  using Op = PathOp<Real>;
  using State = typename Op::Walk;

  template <class Block>
  static KAC_FN void run(const PathJob& job, void* memory, Block* block) {
    const typename Op::Shared shared(memory, job, block->threads());
    block->each([&job](const Place& at, State* walk) { walk->begin(job, at); });
    for (int64 j = 0; j < job.times.n; j += job.tiling.groups) {
      block->each([&job, &shared, j](const Place& at, State* walk) {
        Op::fill(job, at, *walk, j, shared);
      });
      block->barrier();
      block->each(
          [&job, &shared, j](const Place& at, State* walk) { Op::step(job, at, j, shared, walk); });
      block->barrier();
      block->each([&job, &shared, j](const Place& at, State* walk) {
        Op::write(job, at, *walk, j, shared);
      });
    }
  }
};

/// The gradients of a part of a spline, in rounds of one element for each thread.
template <class Real, bool kWhole>
struct Phases<SplineGradOp<Real>, kWhole> {
  using Op = SplineGradOp<Real>;
  using State = typename Op::State;

  template <class Block>
  static KAC_FN void run(const SplineJob& job, void* memory, Block* block) {
    const typename Op::Shared shared(memory, job, block->threads());
    block->each(
        [&job, &shared](const Place& at, State* state) { Op::begin(job, at, shared, state); });
    const int64 most = kac::smaller(job.part, job.rows) * job.inner;
    for (int64 first = 0; first < most; first += block->threads()) {
      block->each([&job, &shared, first](const Place& at, State* state) {
        Op::terms(job, at, *state, first, shared);
      });
      block->barrier();
      block->each([&job, &shared, first](const Place& at, State* state) {
        Op::add(job, at, *state, first, shared);
      });
      block->barrier();
    }
    block->each([&job, shared](const Place& at, State*) { Op::store(job, at, shared); });
  }
};

}  // namespace device
}  // namespace kacflow

#endif  // KACFLOW_CUDA_PHASES_H_
