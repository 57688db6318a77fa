// The cross-entropy of a softmax, and its gradient in the place of the logits.
//
//     loss = ln(sum_v exp(z[v])) - z[target]          dloss/dz[v] = exp(z[v]) / sum - [v = target]
#pragma once

#include <cmath>

#include "task.h"
#include "vectors.h"

namespace retrograd {
namespace {

template <class R>
R total(Vector<R> v) {
  R sum = 0;
  for (int i = 0; i < lanes<R>; ++i) sum += v[i];
  return sum;
}

// One row (size) of logits; where it is not asked for, its loss and gradient are 0.
template <class R>
double softmax_row(R* z, int64_t size, int64_t target, R scale) {
  R largest = z[0];
  Vector<R> tops = all<R>(z[0]);
  int64_t v = 0;
  for (; v + lanes<R> <= size; v += lanes<R>) {
    const Vector<R> x = load<R>(z + v);
    tops = x > tops ? x : tops;
  }
  for (int i = 0; i < lanes<R>; ++i) largest = tops[i] > largest ? tops[i] : largest;
  for (; v < size; ++v) largest = z[v] > largest ? z[v] : largest;

  Vector<R> sums{};
  const Vector<R> lowest = all<R>(-Types<R>::end);
  const R asked = z[target] - largest;
  for (v = 0; v < size; v += lanes<R>) {
    const int n = size - v < lanes<R> ? int(size - v) : lanes<R>;
    const Vector<R> x = load<R>(z + v, n) - largest;
    const Vector<R> y = exp<R>(x);
    const Vector<R> shown = x < lowest ? Vector<R>{} : y;
    store<R>(z + v, shown, n);
    sums += n == lanes<R> ? shown : load<R>(z + v, n);
  }
  const R sum = total<R>(sums), factor = scale / sum;
  for (v = 0; v < size; v += lanes<R>) {
    const int n = size - v < lanes<R> ? int(size - v) : lanes<R>;
    store<R>(z + v, load<R>(z + v, n) * factor, n);
  }
  z[target] -= scale;
  return std::log(double(sum)) - double(asked);
}

// Rows thread, thread + count, ... of the task.
template <class R>
void softmax(const RetrogradSoftmax& t, int thread, int count) {
  for (int64_t row = thread; row < t.rows; row += count) {
    R* z = static_cast<R*>(t.logits) + row * t.size;
    const int64_t target = t.targets[row];
    if (target == t.ignored) {
      for (int64_t v = 0; v < t.size; ++v) z[v] = 0;
      t.losses[row] = 0;
    } else {
      t.losses[row] = softmax_row<R>(z, t.size, target, R(t.scale));
    }
  }
}

}  // namespace
}  // namespace retrograd
