// Products of matrices that lie in panels.
//
// A matrix of R rows and F features lies as [ceil(F / 32)][R][32]: 32 features of each row
// side by side. In this form it can be read by vectors along its features or broadcast along
// its rows, without strides that are powers of two, which would fall on few cache sets.
//
// Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008),
// doi:10.1145/1356052.1356053.
#pragma once

#include "vector.h"

namespace jaxrnn::JAXRNN_ISA {

constexpr int64_t kPanel = 32;

inline int64_t panels(int64_t features) { return (features + kPanel - 1) / kPanel; }

// Rows of a tile of two vectors that the registers hold.
constexpr int kTileRows = JAXRNN_VECTOR_BYTES == 64 ? 14 : 6;

// One left operand, by (row, k): `row` and `inner` are strides, and k runs over panels.
//   along features: row 32, inner 1, the next panel of k after 32 of them
//   along rows (the transposed matrix): row 1, inner 32, all of k in one panel
template <class Real>
struct Left {
  const Real* data;
  int64_t panel_stride;  // of the next 32 k, along features
};

template <class Real, int M, int U, bool kAlongRows>
void tile(Left<Real> a, int64_t depth, const Real* b, const Real* init,
          int64_t init_stride, Real* c) {
  using V = Vec<Real>;
  constexpr int kRow = kAlongRows ? 1 : kPanel;
  constexpr int kInner = kAlongRows ? kPanel : 1;
  constexpr int L = lanes<Real>;
  V acc[U][M][2];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    acc[0][m][0] = load(init + m * init_stride);
    acc[0][m][1] = load(init + m * init_stride + L);
#pragma GCC unroll 4
    for (int u = 1; u < U; ++u) acc[u][m][0] = acc[u][m][1] = V{};
  }
  for (int64_t done = 0; done < depth;) {
    const int64_t left = depth - done;
    const int64_t count = kAlongRows || left < kPanel ? left : kPanel;
    const Real* p = a.data;
    int64_t k = 0;
    for (; k + U <= count; k += U, p += U * kInner, b += U * kPanel) {
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        const V b0 = load(b + u * kPanel), b1 = load(b + u * kPanel + L);
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
          const V s = splat(p[u * kInner + m * kRow]);
          acc[u][m][0] += s * b0;
          acc[u][m][1] += s * b1;
        }
      }
    }
    for (; k < count; ++k, p += kInner, b += kPanel) {
      const V b0 = load(b), b1 = load(b + L);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const V s = splat(p[m * kRow]);
        acc[0][m][0] += s * b0;
        acc[0][m][1] += s * b1;
      }
    }
    done += count;
    a.data += a.panel_stride;
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 4
    for (int u = 1; u < U; ++u) {
      acc[0][m][0] += acc[u][m][0];
      acc[0][m][1] += acc[u][m][1];
    }
    store(c + m * kPanel, acc[0][m][0]);
    store(c + m * kPanel + L, acc[0][m][1]);
  }
}

template <class Real, bool kAlongRows>
void rows_of_tile(int64_t rows, Left<Real> a, int64_t depth, const Real* b,
                  const Real* init, int64_t init_stride, Real* c) {
  // few rows: more than one sum per entry, to fill the latency of the additions
#define JAXRNN_TILE(M, U) \
  case M:                 \
    return tile<Real, M, U, kAlongRows>(a, depth, b, init, init_stride, c);
  switch (rows) {
    JAXRNN_TILE(1, 4)
    JAXRNN_TILE(2, 4)
    JAXRNN_TILE(3, 2)
    JAXRNN_TILE(4, 1)
    JAXRNN_TILE(5, 1)
    JAXRNN_TILE(6, 1)
#if JAXRNN_VECTOR_BYTES == 64
    JAXRNN_TILE(7, 1)
    JAXRNN_TILE(8, 1)
    JAXRNN_TILE(9, 1)
    JAXRNN_TILE(10, 1)
    JAXRNN_TILE(11, 1)
    JAXRNN_TILE(12, 1)
    JAXRNN_TILE(13, 1)
    JAXRNN_TILE(14, 1)
#endif
  }
#undef JAXRNN_TILE
}

// c = init + a b for one panel of b and c: 32 columns, `rows` rows, `depth` products each.
// `init` is c itself with a stride of 32 to add to it, or one row with a stride of 0.
template <class Real, bool kAlongRows = false>
void panel_product(int64_t rows, Left<Real> a, int64_t depth, const Real* b,
                   const Real* init, int64_t init_stride, Real* c) {
  constexpr int64_t kRow = kAlongRows ? 1 : kPanel;
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t from = rows * i / tiles, to = rows * (i + 1) / tiles;
    const Left<Real> part{a.data + from * kRow, a.panel_stride};
    for (int64_t column = 0; column < kPanel; column += 2 * lanes<Real>)
      rows_of_tile<Real, kAlongRows>(to - from, part, depth, b + column,
                                     init + from * init_stride + column, init_stride,
                                     c + from * kPanel + column);
  }
}

// One panel of a row-major matrix: columns `from` ... of `width` in all, rows by `stride`.
template <class Real>
void pack_panel(const Real* matrix, int64_t rows, int64_t stride, int64_t columns,
                Real* panel) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < kPanel; j += lanes<Real>)
      store(panel + r * kPanel + j,
            j < columns ? load(matrix + r * stride + j, columns - j) : Vec<Real>{});
}

// The same of the transposed matrix: 32 of its rows become the columns of the panel.
template <class Real>
void pack_panel_transposed(const Real* matrix, int64_t depth, int64_t stride,
                           int64_t columns, Real* panel) {
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t j = 0; j < kPanel; ++j)
      panel[k * kPanel + j] = j < columns ? matrix[j * stride + k] : Real(0);
}

}  // namespace jaxrnn::JAXRNN_ISA
