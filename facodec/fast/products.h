/* Rows times a matrix whose columns lie in panels, one after the other.
 *
 * Every sum runs over the inner dimension in order, whatever the number of rows: what a row gives
 * does not depend on the rows beside it. */

#ifndef FACODEC_PRODUCTS_H
#define FACODEC_PRODUCTS_H

#include "vectors.h"

/* Sums that fit into registers: TALL rows of WIDE vectors. */
#if defined(__AVX__) && !defined(__AVX512F__)
enum { WIDE = 2, TALL = 6 };
#else
enum { WIDE = 4, TALL = 6 };
#endif
enum { PANEL = WIDE * LANES };

/* packed: (columns / PANEL, inner, PANEL); bias: (columns,); columns a multiple of PANEL. */
typedef struct {
    const float *packed, *bias;
    int64_t inner, columns;
} Product;

typedef enum { PLAIN, GELU } Then;

INLINE void tile(int tall, int64_t inner, const float *rows, int64_t stride, const float *panel,
                 const float *start, int64_t start_stride, float *out, int64_t out_stride,
                 Then then) {
    vec sums[TALL][WIDE];
    for (int r = 0; r < tall; r++)
        for (int w = 0; w < WIDE; w++) sums[r][w] = load(start + r * start_stride + w * LANES);
    for (int64_t k = 0; k < inner; k++) {
        vec weights[WIDE];
        for (int w = 0; w < WIDE; w++) weights[w] = load(panel + k * PANEL + w * LANES);
        for (int r = 0; r < tall; r++)
            for (int w = 0; w < WIDE; w++) sums[r][w] += weights[w] * rows[r * stride + k];
    }
    for (int r = 0; r < tall; r++)
        for (int w = 0; w < WIDE; w++) {
            vec sum = then == GELU ? gelu(sums[r][w]) : sums[r][w];
            store(out + r * out_stride + w * LANES, sum);
        }
}

/* rows (count, inner), stride apart -> out (count, columns); onto what is at start, start_stride
 * apart: 0 for the same, such as a bias, for every row. */
INLINE void multiply_onto(const Product *p, const float *rows, int64_t stride, int64_t count,
                          const float *start, int64_t start_stride, float *out, Then then) {
    for (int64_t c = 0; c < p->columns; c += PANEL) {
        const float *panel = p->packed + c * p->inner;
        int64_t r = 0;
#define TILE(tall)                                                                     \
    tile(tall, p->inner, rows + r * stride, stride, panel, start + r * start_stride + c, \
         start_stride, out + r * p->columns + c, p->columns, then)
        for (; r + TALL <= count; r += TALL) TILE(TALL);
        switch (count - r) {
            case 1: TILE(1); break;
            case 2: TILE(2); break;
            case 3: TILE(3); break;
            case 4: TILE(4); break;
            case 5: TILE(5); break;
        }
#undef TILE
    }
}

static void multiply(const Product *p, const float *rows, int64_t stride, int64_t count,
                     float *out) {
    multiply_onto(p, rows, stride, count, p->bias, 0, out, PLAIN);
}

#endif
