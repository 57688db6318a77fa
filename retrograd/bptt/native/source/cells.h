// One step of each cell on some units of one row, forward and back; what the matrix products gave comes in `z`.
//
// Names are those of retrograd/cells: p the input's share, a the recurrent one, torch's order of gates. Per row and step
// a cell keeps `kept` blocks of H numbers, which stand where p stood, so that the input product is written straight into
// them, and gives back as many gradients:
// (Of tokens p stands in a table, a row for each type, laid out alike.)
//
//     Elman   keeps h                    back: dz
//     GRU     keeps [n, r, z, a_n]       back: [dp_n, dp_r = da_r, dp_z = da_z, da_n]: dp and da are both slices
//     LSTM    keeps [i, f, g, o]         back: the same four
#pragma once

#include "panels.h"

namespace retrograd {
namespace {

template <class R>
struct Step {  // of one row
  const R* p;       // (kept * H) the input's share
  R* kept;          // (kept * H) may be the same
  R* h;             // (H) what comes of the step
  R* c;             // (H)
  const R* h_past;  // (H) what it began with
  const R* c_past;
  int64_t H;
};

template <class R>
struct Back {  // of one row
  const R* kept;
  const R* h_past;
  const R* c_past;
  const R* c;
  R* d;       // (kept * H) gradients at p and a
  R* direct;  // (H) what goes back beside W_hh: to h for a GRU, to c for an LSTM
  int64_t H;
};

// Forward takes units from `from` on, as many as are in a panel or are left, with the sums of gate g from z + g * wide
// on, which it may write over: each pass over the gates leaves the processor many short sums to take at once, where one
// long one for each unit would have it wait. Backward takes a vector at unit j of which the first n are meant.
template <class R, class Use>
inline void each_vector(int64_t from, int64_t H, Use use) {
  const int64_t left = H - from;
  if (left >= wide<R>) {  // as nearly always: no vector needs to ask how much of it is meant
    use(0, from, lanes<R>);
    use(lanes<R>, from + lanes<R>, lanes<R>);
  } else {
    for (int64_t v = 0; v < left; v += lanes<R>) use(v, from + v, int(left - v));
  }
}

template <class R, int f>
struct Elman {
  static constexpr int gates = 1, kept = 1, recurrent = 0;
  static constexpr bool memory = false, direct = false;

  static void forward(const Step<R>& s, R* z, const R*, int64_t from) {
    each_vector<R>(from, s.H, [&](int64_t v, int64_t j, int n) {
      store<R>(s.h + j, activate<R, f>(load<R>(s.p + j, n) + load<R>(z + v)), n);
    });
  }

  static void backward(const Back<R>& s, Vector<R> dh, int64_t j, int n) {
    store<R>(s.d + j, back<R, f>(load<R>(s.kept + j, n), dh), n);
  }
};

// The activation of one gate: z <- f(p + z), which is kept.
template <class R, int f>
inline void gate(const Step<R>& s, int64_t block, R* z, int64_t from) {
  const R* p = s.p + block * s.H;
  R* kept = s.kept + block * s.H;
  each_vector<R>(from, s.H, [&](int64_t v, int64_t j, int n) {
    const Vector<R> y = activate<R, f>(load<R>(p + j, n) + load<R>(z + v));
    store<R>(kept + j, y, n);
    store<R>(z + v, y);
  });
}

template <class R>
struct GRU {
  static constexpr int gates = 3, kept = 4, recurrent = 1;  // a's blocks begin at the second
  static constexpr bool memory = false, direct = true;

  static void forward(const Step<R>& s, R* z, const R* bias, int64_t from) {
    const int64_t H = s.H;
    gate<R, SIGMOID>(s, 1, z, from);
    gate<R, SIGMOID>(s, 2, z + wide<R>, from);
    each_vector<R>(from, H, [&](int64_t v, int64_t j, int n) {
      Vector<R> a = load<R>(z + 2 * wide<R> + v);
      if (bias) a += load<R>(bias + 2 * H + j, n);
      const Vector<R> y = tanh<R>(load<R>(s.p + j, n) + load<R>(z + v) * a);
      store<R>(s.kept + j, y, n);
      store<R>(s.kept + 3 * H + j, a, n);
      store<R>(s.h + j, y + load<R>(z + wide<R> + v) * (load<R>(s.h_past + j, n) - y), n);
    });
  }

  static void backward(const Back<R>& s, Vector<R> dh, int64_t j, int n) {
    const int64_t H = s.H;
    const Vector<R> y = load<R>(s.kept + j, n), r = load<R>(s.kept + H + j, n), u = load<R>(s.kept + 2 * H + j, n);
    const Vector<R> a = load<R>(s.kept + 3 * H + j, n);
    const Vector<R> dn = dh * (R(1) - u) * (R(1) - y * y);
    store<R>(s.d + j, dn, n);
    store<R>(s.d + H + j, dn * a * r * (R(1) - r), n);
    store<R>(s.d + 2 * H + j, dh * (load<R>(s.h_past + j, n) - y) * u * (R(1) - u), n);
    store<R>(s.d + 3 * H + j, dn * r, n);
    store<R>(s.direct + j, dh * u, n);
  }
};

template <class R>
struct LSTM {
  static constexpr int gates = 4, kept = 4, recurrent = 0;
  static constexpr bool memory = true, direct = true;

  static void forward(const Step<R>& s, R* z, const R*, int64_t from) {
    gate<R, SIGMOID>(s, 0, z, from);
    gate<R, SIGMOID>(s, 1, z + wide<R>, from);
    gate<R, TANH>(s, 2, z + 2 * wide<R>, from);
    gate<R, SIGMOID>(s, 3, z + 3 * wide<R>, from);
    each_vector<R>(from, s.H, [&](int64_t v, int64_t j, int n) {
      const Vector<R> i = load<R>(z + v), f = load<R>(z + wide<R> + v), g = load<R>(z + 2 * wide<R> + v);
      const Vector<R> c = f * load<R>(s.c_past + j, n) + i * g;
      store<R>(s.c + j, c, n);
      store<R>(s.h + j, load<R>(z + 3 * wide<R> + v) * tanh<R>(c), n);
    });
  }

  static void backward(const Back<R>& s, Vector<R> dh, int64_t j, int n) {
    const int64_t H = s.H;
    const Vector<R> i = load<R>(s.kept + j, n), f = load<R>(s.kept + H + j, n);
    const Vector<R> g = load<R>(s.kept + 2 * H + j, n), o = load<R>(s.kept + 3 * H + j, n);
    const Vector<R> y = tanh<R>(load<R>(s.c + j, n));
    const Vector<R> dc = load<R>(s.direct + j, n) + dh * o * (R(1) - y * y);
    store<R>(s.d + j, dc * g * i * (R(1) - i), n);
    store<R>(s.d + H + j, dc * load<R>(s.c_past + j, n) * f * (R(1) - f), n);
    store<R>(s.d + 2 * H + j, dc * i * (R(1) - g * g), n);
    store<R>(s.d + 3 * H + j, dh * y * o * (R(1) - o), n);
    store<R>(s.direct + j, dc * f, n);
  }
};

}  // namespace
}  // namespace retrograd
