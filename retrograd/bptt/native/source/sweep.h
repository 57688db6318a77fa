// What enters a layer at many steps, taken back together to its first state.
//
//     J[t]^T d = [sum over m of J_m^T d_m, 0] + D d          J_m[i, :] = sum over gates g of K[t, m, g, i] W_g[i, :]
//
// Each d travels at a length near one, beside the logarithm of what it really is, so that none is lost. All that enters a
// sequence meets the same J[t] there: where that is less work, it is made once, in panels, and not one gate's product
// after the other.
// Axes: E entries, T steps, B sequences, M parts of the state (h, or h and c), G gates, H hidden, S = M H.
#pragma once

#include <cmath>

#include "sequence.h"

namespace retrograd {
namespace {

constexpr int64_t few = 4;       // rows for which J is not worth its making
constexpr int64_t together = 2;  // panels that some rows pass over at once
template <class R>
constexpr int64_t across = together * wide<R>;
constexpr double near_one = 1e-12, far_from_one = 1e12;  // the lengths between which a gradient travels

// What the threads of a call share.
template <class R>
struct Sweep {
  const RetrogradSweep& task;
  const int64_t H, M, G, S, units, own_wide;
  Scratch<R> panels, own;
  Barrier everyone;

  explicit Sweep(const RetrogradSweep& t)
      : task(t),
        H(t.hidden),
        M(t.parts),
        G(t.gates),
        S(M * H),
        units(up(H, wide<R>)),
        own_wide(units * S * wide<R> + 2 * (t.entries + 1) * S + few * G * H + tallest * across<R>),
        panels(scratch<R>(units * G * H * wide<R>)),
        own(scratch<R>(t.threads * own_wide)) {}

  bool ready() const { return panels && own; }
};

// One sequence, and of its entries one in every `parts`. The first of these parts also carries their sum.
template <class R>
class Carried {
 public:
  Carried(const Sweep<R>& sweep, R* own, double* scales, int64_t b, int64_t part, int64_t parts)
      : w(sweep), t(sweep.task), H(w.H), M(w.M), G(w.G), S(w.S), b(b), part(part), parts(parts), scales(scales) {
    entries = part < t.entries ? up(t.entries - part, parts) : 0;
    first = entries, end = entries + (part ? 0 : 1), summed = t.entries;
    jacobian = own;
    delta = jacobian + w.units * S * wide<R>;
    next = delta + (t.entries + 1) * S;
    shares = next + (t.entries + 1) * S;
    sums = shares + few * G * H;
    if (!part) std::fill(delta + entries * S, delta + end * S, R(0));
  }

  void run() {
    for (int64_t k = t.at[t.entries - 1]; k >= 0; --k) {
      if (first < entries || (!part && summed < t.entries)) {
        back(k);
        std::swap(delta, next);
      }
      while (first && t.at[entry(first - 1)] == k) take_up(--first);
      while (!part && summed && t.at[summed - 1] == k) add(--summed);
      for (int64_t r = first; r < entries; ++r) measure(r, k);
      if (!part) std::copy_n(delta + entries * S, S, static_cast<R*>(t.total) + (k * t.batch + b) * S);
    }
  }

 private:
  const Sweep<R>& w;
  const RetrogradSweep& t;
  const int64_t H, M, G, S, b, part, parts;
  double* scales;  // ln of what each row was divided by
  int64_t entries, first, end;  // rows first .. entries - 1 are on their way, and behind them the sum of all entries
  int64_t summed;               // from this entry on
  R *jacobian, *delta, *next, *shares, *sums;

  int64_t entry(int64_t row) const { return part + row * parts; }

  void take_up(int64_t row) {
    const int64_t of = (entry(row) * t.batch + b) * S;
    std::copy_n(static_cast<const R*>(t.units) + of, S, delta + row * S);
    scales[row] = t.logs[entry(row) * t.batch + b];
  }

  void add(int64_t e) {
    const R* entering = static_cast<const R*>(t.entering) + (e * t.batch + b) * S;
    for (int64_t j = 0; j < S; ++j) delta[entries * S + j] += entering[j];
  }

  // The step to s[k + 1] taken back, of all rows that are on their way.
  void back(int64_t k) {
    const R* K = static_cast<const R*>(t.to_a) + (k * t.batch + b) * M * G * H;
    const R* D = static_cast<const R*>(t.direct) + (k * t.batch + b) * M * S;
    const bool made = end - first > few;
    if (made) make(K);
    else share(K);
    const R *panels = made ? jacobian : w.panels.get(), *from = made ? delta + first * S : shares;
    const int64_t summed_over = made ? S : G * H, tiles = up(end - first, near_height);  // of nearly one height
    for (int64_t u = 0; u < w.units; u += together) {
      const int64_t some = std::min(together, w.units - u);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t top = tile * (end - first) / tiles, bottom = (tile + 1) * (end - first) / tiles;
        product(bottom - top, from + top * summed_over, summed_over, panels + u * summed_over * wide<R>, summed_over,
                some, sums, across<R>);
        for (int64_t r = top; r < bottom; ++r)
          for (int64_t i = 0; i < some; ++i)
            put(D, delta + (first + r) * S, next + (first + r) * S, sums + (r - top) * across<R> + i * wide<R>, u + i);
      }
    }
  }

  // J as panels, from those of W.
  void make(const R* K) {
    for (int64_t u = 0; u < w.units; ++u) {
      const R* W = w.panels.get() + u * G * H * wide<R>;
      for (int64_t m = 0; m < M; ++m) {
        for (int64_t i = 0; i < H; ++i) {
          Vector<R> low{}, high{};
          for (int64_t g = 0; g < G; ++g) {
            const Vector<R> factor = all<R>(K[(m * G + g) * H + i]);
            const R* row = W + (g * H + i) * wide<R>;
            low += factor * load<R>(row), high += factor * load<R>(row + lanes<R>);
          }
          R* to = jacobian + ((u * M + m) * H + i) * wide<R>;
          store<R>(to, low), store<R>(to + lanes<R>, high);
        }
      }
    }
  }

  // What the few rows have at the gates.
  void share(const R* K) {
    for (int64_t r = first; r < end; ++r) {
      const R* from = delta + r * S;
      R* to = shares + (r - first) * G * H;
      for (int64_t g = 0; g < G; ++g) {
        for (int64_t j = 0; j < H; j += lanes<R>) {
          const int n = int(std::min<int64_t>(lanes<R>, H - j));
          Vector<R> sum{};
          for (int64_t m = 0; m < M; ++m) sum += load<R>(K + (m * G + g) * H + j, n) * load<R>(from + m * H + j, n);
          store<R>(to + g * H + j, sum, n);
        }
      }
    }
  }

  // One row's units of panel u, before the step.
  void put(const R* D, const R* from, R* to, const R* z, int64_t u) const {
    each_vector<R>(u * wide<R>, H, [&](int64_t v, int64_t j, int n) {
      for (int64_t c = 0; c < M; ++c) {
        Vector<R> sum = c ? Vector<R>{} : load<R>(z + v);
        for (int64_t m = 0; m < M; ++m) sum += load<R>(D + (m * M + c) * H + j, n) * load<R>(from + m * H + j, n);
        store<R>(to + c * H + j, sum, n);
      }
    });
  }

  void measure(int64_t row, int64_t k) {
    R* d = delta + row * S;
    const double length = norm(d);
    t.log_norms[(entry(row) * (t.steps + 1) + k) * t.batch + b] = scales[row] + std::log(length);
    if ((length < near_one || length > far_from_one) && length > 0 && std::isfinite(length)) {
      for (int64_t j = 0; j < S; ++j) d[j] = R(d[j] / length);
      scales[row] += std::log(length);
    }
  }

  double norm(const R* d) const {
    Vector<R> squares{};
    for (int64_t j = 0; j < S; j += lanes<R>) {
      const Vector<R> x = load<R>(d + j, int(std::min<int64_t>(lanes<R>, S - j)));
      squares += x * x;
    }
    double sum = 0;
    for (int i = 0; i < lanes<R>; ++i) sum += squares[i];
    if (sum > near_one * near_one && sum < far_from_one * far_from_one) return std::sqrt(sum);
    double largest = 0;
    for (int64_t j = 0; j < S; ++j) {
      if (std::isnan(d[j])) return std::nan("");
      largest = std::max(largest, std::abs(double(d[j])));
    }
    if (!(largest > 0) || std::isinf(largest)) return largest;
    sum = 0;
    for (int64_t j = 0; j < S; ++j) sum += (d[j] / largest) * (d[j] / largest);
    return largest * std::sqrt(sum);
  }
};

// A thread's sequences; where there are fewer of these than threads, each one's entries are dealt out too.
template <class R>
void sweep(Sweep<R>& w, double* scales, int thread, int count) {
  const RetrogradSweep& t = w.task;
  for (int64_t u = thread; u < w.units; u += count)
    pack_columns(static_cast<const R*>(t.weight), w.G * w.H, w.H, u, w.panels.get());
  w.everyone.wait(count);
  const int64_t parts = std::max<int64_t>(1, count / t.batch);
  for (int64_t item = thread; item < t.batch * parts; item += count)
    Carried<R>(w, w.own.get() + thread * w.own_wide, scales + thread * t.entries, item % t.batch, item / t.batch, parts)
        .run();
}

}  // namespace
}  // namespace retrograd
