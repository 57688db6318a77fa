// The product of some rows with a weight matrix that lies packed in panels.
//
//     out[r, :] = sum over k of a[r, k] panel[k, :]          a panel: K rows of `wide` columns, one after the other
//
// A tile of ROWS x PANELS panels is summed in registers over all of K. Columns that a matrix lacks are zeros, so that every
// panel is whole.
#pragma once

#include "vectors.h"

namespace retrograd {
namespace {

// `tallest` rows pass over one panel at once; `low` or fewer over two, which takes fewer loads for each product but passes
// over the panels more often.
#if VECTOR_BYTES == 64  // 32 registers
constexpr int tallest = 12, low = 6;
#elif VECTOR_BYTES == 32  // 16 registers
constexpr int tallest = 6, low = 3;
#else
constexpr int tallest = 4, low = 0;
#endif

template <class R>
constexpr int wide = 2 * lanes<R>;

template <class R>
constexpr int line = 64 / sizeof(R);  // of the caches

inline int64_t up(int64_t n, int64_t by) { return (n + by - 1) / by; }

template <class R, int ROWS, int PANELS>
inline void tile(const R* a, int64_t stride, const R* panel, int64_t K, R* out, int64_t out_stride) {
  Vector<R> sum[ROWS][2 * PANELS];
  for (int r = 0; r < ROWS; ++r)
    for (int p = 0; p < 2 * PANELS; ++p) sum[r][p] = Vector<R>{};
  const R* row[ROWS];
  for (int r = 0; r < ROWS; ++r) row[r] = a + r * stride;
  for (int64_t k = 0; k < K; ++k) {
    Vector<R> w[2 * PANELS];
    for (int j = 0; j < wide<R>; j += line<R>) __builtin_prefetch(panel + (k + 24) * wide<R> + j);
    for (int p = 0; p < PANELS; ++p) {
      w[2 * p] = load<R>(panel + (p * K + k) * wide<R>);
      w[2 * p + 1] = load<R>(panel + (p * K + k) * wide<R> + lanes<R>);
    }
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const Vector<R> x = all<R>(row[r][k]);
#pragma GCC unroll 8
      for (int p = 0; p < 2 * PANELS; ++p) sum[r][p] += x * w[p];
    }
  }
  for (int r = 0; r < ROWS; ++r)
    for (int p = 0; p < 2 * PANELS; ++p) store<R>(out + r * out_stride + p * lanes<R>, sum[r][p]);
}

// Few rows: more panels at once keep as many sums under way as the multipliers need.
template <class R, int ROWS, int PANELS>
inline void tiles(const R* a, int64_t stride, const R* panel, int64_t K, int64_t panels, R* out, int64_t out_stride) {
  int64_t p = 0;
  for (; p + PANELS <= panels; p += PANELS)
    tile<R, ROWS, PANELS>(a, stride, panel + p * K * wide<R>, K, out + p * wide<R>, out_stride);
  for (; p < panels; ++p) tile<R, ROWS, 1>(a, stride, panel + p * K * wide<R>, K, out + p * wide<R>, out_stride);
}

template <class R, int ROWS>
inline void some_rows(int rows, const R* a, int64_t stride, const R* panel, int64_t K, int64_t panels, R* out,
                      int64_t out_stride) {
  if constexpr (ROWS > 1) {
    if (rows < ROWS) return some_rows<R, ROWS - 1>(rows, a, stride, panel, K, panels, out, out_stride);
  }
  constexpr int many = ROWS == 1 ? (VECTOR_BYTES >= 32 ? 4 : 2) : ROWS <= low ? 2 : 1;
  tiles<R, ROWS, many>(a, stride, panel, K, panels, out, out_stride);
}

// At most `tallest` rows (rows, K) times consecutive panels -> out (rows, panels * wide).
template <class R>
inline void product(int64_t rows, const R* a, int64_t stride, const R* panel, int64_t K, int64_t panels, R* out,
                    int64_t out_stride) {
  some_rows<R, tallest>(int(rows), a, stride, panel, K, panels, out, out_stride);
}

// Panel u of `gates` matrices (H, K) that lie one below the other, row by row: the units from u * wide of each gate in
// turn, so that all gates of a unit come together. Column j of panel (u, g) is row g H + u wide + j.
template <class R>
void pack_rows(const R* W, int64_t H, int64_t K, int gates, int64_t u, R* panels) {
  for (int g = 0; g < gates; ++g) {
    R* to = panels + (u * gates + g) * K * wide<R>;
    for (int64_t j = 0; j < wide<R>; ++j) {
      const int64_t unit = u * wide<R> + j;
      const R* from = W + (g * H + unit) * K;
      for (int64_t k = 0; k < K; ++k) to[k * wide<R> + j] = unit < H ? from[k] : R(0);
    }
  }
}

// Panel u of a matrix (K, H): its columns from u * wide.
template <class R>
void pack_columns(const R* W, int64_t K, int64_t H, int64_t u, R* panels) {
  R* to = panels + u * K * wide<R>;
  const int64_t some = H - u * wide<R> < wide<R> ? H - u * wide<R> : wide<R>;
  for (int64_t k = 0; k < K; ++k) {
    const R* from = W + k * H + u * wide<R>;
    for (int64_t j = 0; j < wide<R>; ++j) to[k * wide<R> + j] = j < some ? from[j] : R(0);
  }
}

}  // namespace
}  // namespace retrograd
