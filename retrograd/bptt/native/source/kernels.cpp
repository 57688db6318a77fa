// All kernels for one instruction set: the build compiles this file once for each, with another NAME.
#include "kernels.h"

#include "sequence.h"
#include "softmax.h"
#include "sweep.h"

namespace retrograd {
namespace {

template <class Run>
void by_team(const Runtime& runtime, int64_t threads, Run run) {
  struct Call {
    const Runtime& runtime;
    Run& run;
  } call{runtime, run};
  if (threads < 2 || !runtime.parallel) return run(0, 1);
  runtime.parallel(
      [](void* data) {
        Call& it = *static_cast<Call*>(data);
        it.run(it.runtime.number(), it.runtime.count());  // a team may be smaller than was asked for
      },
      &call, unsigned(threads), 0);
}

template <class R, class Cell>
int with_cell(const RetrogradTask& task, bool back, const Runtime& runtime) {
  Work<R, Cell> work(task, back);
  if (!work.ready()) return OUT_OF_MEMORY;
  by_team(runtime, task.threads, [&](int thread, int count) {
    Part<R, Cell> part(work, back, thread, count);
    back ? part.backward() : part.forward();
  });
  return 0;
}

template <class R, template <class, int> class Kind, class Take>
int activated(const RetrogradTask& task, Take take) {
  switch (task.activation) {
    case TANH: return take(Kind<R, TANH>{});
    case RELU: return take(Kind<R, RELU>{});
    case SIGMOID: return take(Kind<R, SIGMOID>{});
    case IDENTITY: return take(Kind<R, IDENTITY>{});
    default: return UNKNOWN;
  }
}

template <class R>
int of_cell(const RetrogradTask& task, bool back, const Runtime& runtime) {
  switch (task.cell) {
    case 0:
      return activated<R, Elman>(task, [&](auto cell) { return with_cell<R, decltype(cell)>(task, back, runtime); });
    case 1: return with_cell<R, GRU<R>>(task, back, runtime);
    case 2: return with_cell<R, LSTM<R>>(task, back, runtime);
    case 3:
      return activated<R, Additive>(task, [&](auto cell) {
        by_team(runtime, task.threads, [&](int thread, int count) { cell.run(task, back, thread, count); });
        return 0;
      });
    default: return UNKNOWN;
  }
}

template <class R>
int swept(const RetrogradSweep& task, const Runtime& runtime) {
  Sweep<R> work(task);
  const Scratch<double> scales = scratch<double>(task.threads * task.entries);
  if (!work.ready() || !scales) return OUT_OF_MEMORY;
  by_team(runtime, task.threads, [&](int thread, int count) { sweep(work, scales.get(), thread, count); });
  return 0;
}

}  // namespace

namespace NAME {

int sequence(const RetrogradTask& task, bool back, const Runtime& runtime) {
  return task.wide ? of_cell<double>(task, back, runtime) : of_cell<float>(task, back, runtime);
}

int softmax(const RetrogradSoftmax& task, const Runtime& runtime) {
  by_team(runtime, task.threads, [&](int thread, int count) {
    task.wide ? retrograd::softmax<double>(task, thread, count) : retrograd::softmax<float>(task, thread, count);
  });
  return 0;
}

int sweep(const RetrogradSweep& task, const Runtime& runtime) {
  return task.wide ? swept<double>(task, runtime) : swept<float>(task, runtime);
}

}  // namespace NAME
}  // namespace retrograd
