// Numbers in vectors, and the non-linearities on them.
//
//     exp(x)     = 2^n p(r),  n = round(x / ln 2),  r = x - n ln 2,  p the Taylor polynomial of exp; flat as sigmoid is
//     sigmoid(x) = 1 / (1 + exp(-x))                      flat beyond 87 in float, 708 in double: never under 1e-38, 1e-308
//     tanh(x)    = q / (q + 2),  q = exp(2|x|) - 1        q is taken from p - 1, so that small x keep all their digits
//
// |r| <= 0.35, where the polynomials (degree 7 in float, 13 in double) are off by less than 1 unit in the last place;
// sigmoid and tanh are right to 4 units in the last place, and NaN stays NaN. Vectors are the compiler's own (GCC and
// Clang), so one source serves every instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#ifndef VECTOR_BYTES
#error "VECTOR_BYTES is set by the build, one object file for each instruction set"
#endif

namespace retrograd {
namespace {

template <class R>
struct Types;

template <>
struct Types<float> {
  typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
  typedef int32_t Mask __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int mantissa = 23, bias = 127, degree = 7;
  static constexpr float round = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float end = 87.f, flat = 9.1f;
};

template <>
struct Types<double> {
  typedef double Vector __attribute__((vector_size(VECTOR_BYTES)));
  typedef int64_t Mask __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int mantissa = 52, bias = 1023, degree = 13;
  static constexpr double round = 6755399441055744.;  // 1.5 * 2^52
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double end = 708., flat = 19.1;
};

template <class R>
using Vector = typename Types<R>::Vector;

template <class R>
constexpr int lanes = VECTOR_BYTES / sizeof(R);

template <class R>
inline Vector<R> all(R x) {
  return x - Vector<R>{};  // minus, so that it is x itself, -0 too, and no sum is left to do
}

template <class R>
inline Vector<R> load(const R* from) {
  Vector<R> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class R>
inline void store(R* to, Vector<R> v) {
  std::memcpy(to, &v, sizeof v);
}

// The first n of a vector; the others are 0.
template <class R>
inline Vector<R> load(const R* from, int n) {
  if (n >= lanes<R>) return load(from);
  R some[lanes<R>] = {};
  for (int i = 0; i < n; ++i) some[i] = from[i];
  return load(some);
}

template <class R>
inline void store(R* to, Vector<R> v, int n) {
  if (n >= lanes<R>) return store(to, v);
  R some[lanes<R>];
  store(some, v);
  for (int i = 0; i < n; ++i) to[i] = some[i];
}

constexpr double factorial(int n) { return n < 2 ? 1 : n * factorial(n - 1); }

// 1/i! + r/(i+1)! + ... up to the polynomial's degree
template <class R, int i>
inline Vector<R> taylor(Vector<R> r) {
  constexpr R share = R(1 / factorial(i));
  if constexpr (i == Types<R>::degree) return all<R>(share);
  else return taylor<R, i + 1>(r) * r + share;
}

// exp(x) = (less_one + 1) * power, for x within the range of exp; less_one = exp(r) - 1 has all its digits
template <class R>
inline void split_exp(Vector<R> x, Vector<R>& less_one, Vector<R>& power) {
  using T = Types<R>;
  const Vector<R> shifted = x * R(1.44269504088896340736) + T::round;
  const Vector<R> n = shifted - T::round;
  const Vector<R> r = (x - n * T::ln2_high) - n * T::ln2_low;
  less_one = taylor<R, 1>(r) * r;
  typename T::Mask bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + T::bias) << T::mantissa;
  std::memcpy(&power, &bits, sizeof bits);
}

// x within lowest .. highest, NaN as it is
template <class R>
inline Vector<R> within(Vector<R> x, R lowest, R highest) {
  x = x < lowest ? all<R>(lowest) : x;
  return x > highest ? all<R>(highest) : x;
}

template <class R>
inline Vector<R> exp(Vector<R> x) {
  Vector<R> less_one, power;
  split_exp<R>(within<R>(x, -Types<R>::end, Types<R>::end), less_one, power);
  return less_one * power + power;
}

template <class R>
inline Vector<R> sigmoid(Vector<R> x) {
  using T = Types<R>;
  Vector<R> less_one, power;
  split_exp<R>(within<R>(-x, -T::end, T::end), less_one, power);
  return all<R>(1) / (less_one * power + (power + R(1)));
}

template <class R>
inline Vector<R> tanh(Vector<R> x) {
  using T = Types<R>;
  const Vector<R> size = x < R(0) ? -x : x;
  Vector<R> less_one, power;
  split_exp<R>(R(2) * (size > T::flat ? all<R>(T::flat) : size), less_one, power);
  const Vector<R> q = less_one * power + (power - R(1));
  const Vector<R> y = q / (q + R(2));
  return x < R(0) ? -y : y;
}

enum Activation { TANH = 0, RELU = 1, SIGMOID = 2, IDENTITY = 3 };

template <class R, int f>
inline Vector<R> activate(Vector<R> z) {
  if constexpr (f == TANH) return tanh<R>(z);
  if constexpr (f == SIGMOID) return sigmoid<R>(z);
  if constexpr (f == RELU) return z < R(0) ? all<R>(0) : z;
  return z;
}

// A gradient at y = f(z) taken back to z; y is all that is needed of the way there.
template <class R, int f>
inline Vector<R> back(Vector<R> y, Vector<R> gradient) {
  if constexpr (f == TANH) return gradient * (R(1) - y * y);
  if constexpr (f == SIGMOID) return gradient * y * (R(1) - y);
  if constexpr (f == RELU) return y <= R(0) ? all<R>(0) : gradient;
  return gradient;
}

}  // namespace
}  // namespace retrograd
