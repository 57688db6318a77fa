// A whole sequence, forward and back, by a team of threads.
//
//     forward   s[t]  = F(p[t], W_hh h[t-1], s[t-1])          t = 0 .. T-1
//     back      G[t]  = d_h[t] + W_hh^T da[t+1] + direct[t+1]          dp[t], da[t], direct[t]: G[t] back through step t
//
// The team is a grid. Rows of the batch are dealt out, side by side, or alternately where sequences end at several steps,
// so that sorted lengths balance; where that alone would leave too few rows or too much of W_hh to each core, the units
// are split too, with a meeting at every step.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "cells.h"
#include "panels.h"
#include "task.h"
#include "team.h"

namespace retrograd {
namespace {

constexpr int64_t units_at_once = 4;           // panels of units that few rows pass over together
#if VECTOR_BYTES == 64  // processors with AVX-512 have second-level caches of 1 to 2 MB
constexpr int64_t second_level = 1024 * 1024;  // bytes of weights that a core keeps near
constexpr int near_height = low;               // rows at once over weights that are near
#else
constexpr int64_t second_level = 400 * 1024;
constexpr int near_height = tallest;
#endif
constexpr double meeting = 1e5;                // what a meeting costs, in bytes of weights passed over
constexpr double slower_of_two = 1.05;         // who meets at every step is as slow as the slower one at each

struct Free {
  void operator()(void* p) const { std::free(p); }
};

template <class R>
using Scratch = std::unique_ptr<R[], Free>;

template <class R>
Scratch<R> scratch(int64_t n) {
  return Scratch<R>(static_cast<R*>(std::aligned_alloc(64, up(n * sizeof(R) + 64, 64) * 64)));
}

// Of a team of `threads` the split in which the slowest passes over least; by_rows * by_units is their number.
struct Grid {
  int by_rows = 1, by_units = 1;
  int64_t height = tallest;  // rows at once

  Grid(int threads, int64_t rows, int64_t units, int64_t unit_bytes) {
    double least = __builtin_inf();
    for (int by = 1; by <= threads; ++by) {
      if (threads % by) continue;
      const int64_t own_rows = up(rows, threads / by), own_bytes = up(units, by) * unit_bytes;
      const double tiles = up(own_rows, tallest);
      const double waiting = 1 + tiles / own_rows / 2;  // few sums are waited for
      const bool far = own_bytes > second_level;
      const double passing = own_rows * waiting * (far ? 1.1 : 1.0) * own_bytes;
      const double cost = by > 1 ? passing * slower_of_two + meeting : passing;
      if (cost < least) least = cost, by_rows = threads / by, by_units = by, height = far ? tallest : near_height;
    }
  }
};

// What the threads of a call share. `gates` matrices are multiplied with, of K columns.
template <class R, class Cell>
struct Work {
  const RetrogradTask& task;
  const int64_t H, S, units, gates, K, sums_wide;
  Scratch<R> panels, sums, direct;
  std::unique_ptr<Barrier[]> meetings;
  Barrier everyone;

  Work(const RetrogradTask& t, bool back)
      : task(t),
        H(t.hidden),
        S(Cell::memory ? 2 * H : H),
        units(up(H, wide<R>)),
        gates(back ? 1 : Cell::gates),
        K(back ? Cell::gates * H : H),
        sums_wide(units_at_once * gates * wide<R>),
        panels(scratch<R>(units * gates * K * wide<R>)),
        sums(scratch<R>(t.threads * tallest * sums_wide)),
        direct(scratch<R>(t.batch * H)),
        meetings(new (std::nothrow) Barrier[t.threads]) {}

  bool ready() const { return panels && sums && direct && meetings; }
};

// One thread's part: rows first, first + apart, ... before `end`, and some panels of units.
template <class R, class Cell>
class Part {
 public:
  Part(Work<R, Cell>& work, bool back, int thread, int count)
      : w(work), t(work.task), H(work.H), S(work.S), sums(work.sums.get() + thread * tallest * work.sums_wide) {
    for (int64_t u = thread; u < w.units; u += count) {
      if (back) pack_columns(static_cast<const R*>(t.weight), w.K, H, u, w.panels.get());
      else pack_rows(static_cast<const R*>(t.weight), H, w.K, w.gates, u, w.panels.get());
    }
    w.everyone.wait(count);
    const Grid grid(count, t.batch, w.units, w.gates * w.K * wide<R> * sizeof(R));
    const int column = thread % grid.by_units;
    group = thread / grid.by_units, partners = grid.by_units;
    first = group, apart = grid.by_rows, end = t.batch;
    if (t.steps && t.rows[t.steps - 1] == t.batch)  // nothing to balance: rows side by side, for the processor's foresight
      first = group * t.batch / grid.by_rows, apart = 1, end = (group + 1) * t.batch / grid.by_rows;
    first_unit = column * w.units / partners, last_unit = (column + 1) * w.units / partners;
    height = grid.height;
  }

  void forward() {
    for (int64_t step = 0; step < t.steps; ++step) {
      const int64_t begin = t.begin[step], before = step ? t.begin[step - 1] : 0;
      const int64_t going_on = step + 1 < t.steps ? t.rows[step + 1] : 0, past_wide = step ? H : S;
      const R* past = step ? at(t.h, before, H) : at(t.first, 0, S);
      const R* c_past = step ? at(t.c, before, H) : at(t.first, 0, S) + H;
      const int64_t rows = count(t.rows[step]);
      const auto soon = [&](int64_t row, int64_t j, int64_t n) __attribute__((always_inline)) {
        const int64_t k = begin + row;
        ask(t.kept, k * Cell::kept * H + j, Cell::kept, n, true);
        ask(t.h, k * H + j, 1, n, true);
        if (Cell::memory) ask(t.c, k * H + j, 1, n, true), ask(c_past, row * past_wide + j, 1, n, false);
      };
      over(rows, rows, past + first * past_wide, apart * past_wide, step % 2, soon, [&](int64_t row, R* z, int64_t from) {
        const int64_t k = begin + row;
        R* kept = at(t.kept, k, Cell::kept * H);
        const R* p = t.tokens ? at(t.table, t.tokens[k], Cell::kept * H) : kept;
        const Step<R> s{p, kept, at(t.h, k, H), at(t.c, k, H), past + row * past_wide, c_past + row * past_wide, H};
        Cell::forward(s, z, static_cast<const R*>(t.bias), from);
        if (row >= going_on) keep_last(s, row, from);
      });
      meet();
    }
    if (!first_unit) each_beyond(t.first, t.last);
  }

  void backward() {
    constexpr int64_t D = Cell::kept;
    for (int64_t step = t.steps - 1; step >= -1; --step) {  // at last to the first state
      const int64_t begin = step >= 0 ? t.begin[step] : 0, before = step > 0 ? t.begin[step - 1] : 0;
      const int64_t going_on = step + 1 < t.steps ? t.rows[step + 1] : 0, past_wide = step > 0 ? H : S;
      const R* past = step > 0 ? at(t.h, before, H) : at(t.first, 0, S);
      const R* c_past = step > 0 ? at(t.c, before, H) : at(t.first, 0, S) + H;
      const R* later = going_on ? at(t.d, t.begin[step + 1] + first, D * H) + Cell::recurrent * H : nullptr;
      const int64_t rows = count(step >= 0 ? t.rows[step] : going_on);
      const auto soon = [&](int64_t row, int64_t j, int64_t n) __attribute__((always_inline)) {
        if (step < 0) return;
        const int64_t k = begin + row;
        ask(t.kept, k * D * H + j, D, n, false);
        ask(t.d, k * D * H + j, D, n, true);
        if (t.d_h) ask(t.d_h, k * H + j, 1, n, false);
        if (Cell::memory) ask(t.c, k * H + j, 1, n, false), ask(c_past, row * past_wide + j, 1, n, false);
        if (D > 1 && !Cell::memory) ask(past, row * past_wide + j, 1, n, false);
      };
      over(rows, count(going_on), later, apart * D * H, step % 2, soon, [&](int64_t row, R* z, int64_t from) {
        R* direct = w.direct.get() + row * H;
        const R* d_last = t.d_last ? at(t.d_last, row, S) : nullptr;
        if (step < 0) return to_first(row, z, direct, from);
        const int64_t k = begin + row;
        const R* d_h = t.d_h ? at(t.d_h, k, H) : nullptr;
        R* total = t.d_states ? at(t.d_states, k, S) : nullptr;
        const Back<R> s{at(t.kept, k, D * H),  past + row * past_wide, c_past + row * past_wide, at(t.c, k, H),
                        at(t.d, k, D * H), direct, H};
        each_vector<R>(from, H, [&](int64_t v, int64_t j, int n) {
          Vector<R> dh = arriving(row < going_on, d_last, direct, z + v, j, n);
          if (d_h) dh += load<R>(d_h + j, n);
          if (total) {
            store<R>(total + j, dh, n);
            if (Cell::memory) store<R>(total + H + j, load<R>(direct + j, n), n);
          }
          Cell::backward(s, dh, j, n);
        });
      });
      if (step >= 0) meet();
    }
    if (!first_unit) each_beyond(t.d_last, t.d_first);
  }

 private:
  Work<R, Cell>& w;
  const RetrogradTask t;  // a copy, so that no store into an array can change it
  const int64_t H, S;
  R* sums;
  int64_t first, apart, end, first_unit, last_unit, height;
  int group, partners;

  static const R* at(const void* of, int64_t row, int64_t size) { return static_cast<const R*>(of) + row * size; }
  static R* at(void* of, int64_t row, int64_t size) { return static_cast<R*>(of) + row * size; }

  // Of the first so many rows those that are this thread's own.
  int64_t count(int64_t rows) const { return std::max<int64_t>(0, up(std::min(rows, end) - first, apart)); }

  void meet() { w.meetings[group].wait(partners); }

  // Has the memory bring n numbers of each of `blocks` blocks, H apart, while products are under way: the rows of a step
  // lie too far apart for the processor to see them coming. (Inlined, for GCC drops calls that do nothing else.)
  __attribute__((always_inline)) void ask(const void* from, int64_t offset, int64_t blocks, int64_t n,
                                          bool to_write) const {
    for (int64_t i = 0; i < blocks; ++i) {
      for (int64_t j = 0; j < n; j += line<R>) {
        const R* one = static_cast<const R*>(from) + offset + i * H + j;
        if (to_write) __builtin_prefetch(one, 1);
        else __builtin_prefetch(one, 0);
      }
    }
  }

  // Multiplies the first `multiplied` of `rows` own rows, which lie `stride` apart from `a` on, with the own panels, and
  // hands what comes of each row and panel of units to `use`, together with the first of those units.
  template <class Soon, class Use>
  void over(int64_t rows, int64_t multiplied, const R* a, int64_t stride, bool turned, Soon soon, Use use) {
    const int64_t gates = w.gates, K = w.K, sums_wide = w.sums_wide;
    const int64_t tiles = up(rows, height);  // of nearly one height
    const int64_t together = rows < height ? units_at_once : height == low && gates % 2 ? 2 : 1;
    const int64_t pieces = up(last_unit - first_unit, together);
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t u = first_unit + (turned ? pieces - 1 - i : i) * together, some = std::min(together, last_unit - u);
      const R* panel = w.panels.get() + u * gates * K * wide<R>;
      for (int64_t tile = 0, top = 0; tile < tiles; ++tile) {
        const int64_t bottom = (tile + 1) * rows / tiles;
        for (int64_t r = top; r < bottom; ++r) soon(first + r * apart, u * wide<R>, some * wide<R>);
        if (top < multiplied)
          product(std::min(bottom, multiplied) - top, a + top * stride, stride, panel, K, some * gates, sums, sums_wide);
        for (int64_t r = top; r < bottom; ++r)
          for (int64_t j = 0; j < some; ++j)
            use(first + r * apart, sums + (r - top) * sums_wide + j * gates * wide<R>, (u + j) * wide<R>);
        top = bottom;
      }
    }
  }

  // The gradient at h from later steps. `direct` then holds that at c, where there is a memory.
  Vector<R> arriving(bool goes_on, const R* d_last, R* direct, const R* z, int64_t j, int n) const {
    if (goes_on) {
      const Vector<R> dh = load<R>(z);
      return Cell::direct && !Cell::memory ? dh + load<R>(direct + j, n) : dh;
    }
    if (Cell::memory) store<R>(direct + j, d_last ? load<R>(d_last + H + j, n) : Vector<R>{}, n);
    return d_last ? load<R>(d_last + j, n) : Vector<R>{};
  }

  void keep_last(const Step<R>& s, int64_t row, int64_t from) const {
    R* last = at(t.last, row, S);
    each_vector<R>(from, H, [&](int64_t, int64_t j, int n) {
      store<R>(last + j, load<R>(s.h + j, n), n);
      if (Cell::memory) store<R>(last + H + j, load<R>(s.c + j, n), n);
    });
  }

  void to_first(int64_t row, const R* z, R* direct, int64_t from) const {
    R* d_first = at(t.d_first, row, S);
    each_vector<R>(from, H, [&](int64_t v, int64_t j, int n) {
      store<R>(d_first + j, arriving(true, nullptr, direct, z + v, j, n), n);
      if (Cell::memory) store<R>(d_first + H + j, load<R>(direct + j, n), n);
    });
  }

  // Sequences without a step: what stands at their end is what stands at their beginning.
  void each_beyond(const void* from, void* to) const {
    for (int64_t row = first; row < end; row += apart) {
      if (t.steps && row < t.rows[0]) continue;
      for (int64_t j = 0; j < S; ++j) at(to, row, S)[j] = from ? at(from, row, S)[j] : R(0);
    }
  }
};

// h[t] = h[t-1] + f(p[t]): no unit meets another, so a thread takes some units of all rows.
template <class R, int f>
struct Additive {
  static void run(const RetrogradTask& t, bool back, int thread, int count) {
    const int64_t H = t.hidden, vectors = up(H, lanes<R>);
    for (int64_t v = thread * vectors / count; v < (thread + 1) * vectors / count; ++v) {
      const int64_t j = v * lanes<R>;
      const int n = int(std::min<int64_t>(lanes<R>, H - j));
      for (int64_t row = 0; row < t.batch; ++row) back ? backward(t, row, j, n) : forward(t, row, j, n);
    }
  }

  static void forward(const RetrogradTask& t, int64_t row, int64_t j, int n) {
    Vector<R> h = load<R>(static_cast<const R*>(t.first) + row * t.hidden + j, n);
    for (int64_t step = 0; step < t.steps && row < t.rows[step]; ++step) {
      const int64_t k = (t.begin[step] + row) * t.hidden + j;
      const R* p = t.tokens ? static_cast<const R*>(t.table) + t.tokens[t.begin[step] + row] * t.hidden + j
                            : static_cast<const R*>(t.kept) + k;
      const Vector<R> y = activate<R, f>(load<R>(p, n));
      store<R>(static_cast<R*>(t.kept) + k, y, n);
      h += y;
      store<R>(static_cast<R*>(t.h) + k, h, n);
    }
    store<R>(static_cast<R*>(t.last) + row * t.hidden + j, h, n);
  }

  static void backward(const RetrogradTask& t, int64_t row, int64_t j, int n) {
    const int64_t own = row * t.hidden + j;
    Vector<R> dh = t.d_last ? load<R>(static_cast<const R*>(t.d_last) + own, n) : Vector<R>{};
    for (int64_t step = t.steps - 1; step >= 0; --step) {
      if (row >= t.rows[step]) continue;
      const int64_t k = (t.begin[step] + row) * t.hidden + j;
      if (t.d_h) dh += load<R>(static_cast<const R*>(t.d_h) + k, n);
      if (t.d_states) store<R>(static_cast<R*>(t.d_states) + k, dh, n);
      store<R>(static_cast<R*>(t.d) + k, back<R, f>(load<R>(static_cast<const R*>(t.kept) + k, n), dh), n);
    }
    store<R>(static_cast<R*>(t.d_first) + own, dh, n);
  }
};

}  // namespace
}  // namespace retrograd
