// Matmuls of matrices that are stored in panels.
//
// A matrix of R rows and F features is stored as [ceil(F / 32)][R][32]: a panel holds 32
// features of every row. A kernel can load vectors along the features, or single entries along
// the rows to broadcast them. In a row-major matrix, the stride from row to row is often a
// power of two, so that such loads would compete for a few cache sets.
//
// Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008),
// doi:10.1145/1356052.1356053.
#pragma once

#include "vector.h"

namespace jaxrnn::JAXRNN_ISA {

constexpr int64_t kPanel = 32;

inline int64_t panels(int64_t features) { return (features + kPanel - 1) / kPanel; }

// The most rows of a tile, two vectors wide, whose sums fit into the registers.
constexpr int kTileRows = JAXRNN_VECTOR_BYTES == 64 ? 14 : 6;

// The left operand of a matmul, with entries (row, k), where k is the index of the sum.
//   along features: strides 32 of row and 1 of k; 32 values of k in each panel
//   along rows (the transposed matrix): strides 1 of row and 32 of k; all of k in one panel
template <class Real>
struct Left {
  const Real* data;
  int64_t panel_stride;  // from panel to panel, along features
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
  // With few rows, each entry has several partial sums, since each addition to one sum would
  // have to wait for the previous addition.
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

// c = init + a b, where a is `rows` by `depth`, and b and c are one panel of 32 columns. `init`
// is either c itself with a stride of 32, to add to c, or a single row with a stride of 0.
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

// Copies up to 32 columns of a row-major matrix to a panel, and fills the rest with zeros;
// `stride` is the distance from row to row of the matrix.
template <class Real>
void pack_panel(const Real* matrix, int64_t rows, int64_t stride, int64_t columns,
                Real* panel) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < kPanel; j += lanes<Real>)
      store(panel + r * kPanel + j,
            j < columns ? load(matrix + r * stride + j, columns - j) : Vec<Real>{});
}

// The same for the transposed matrix: rows of `matrix` become columns of the panel.
template <class Real>
void pack_panel_transposed(const Real* matrix, int64_t depth, int64_t stride,
                           int64_t columns, Real* panel) {
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t j = 0; j < kPanel; ++j)
      panel[k * kPanel + j] = j < columns ? matrix[j * stride + k] : Real(0);
}

}  // namespace jaxrnn::JAXRNN_ISA
