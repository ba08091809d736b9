/* Rows times a matrix whose columns lie in panels, one after the other.
 *
 * Every sum runs over the inner dimension in order, whatever the number of rows: what a row gives
 * does not depend on the rows beside it. */

#ifndef FACODEC_PRODUCTS_H
#define FACODEC_PRODUCTS_H

#include "facodec.h"
#include "vectors.h"

/* Sums that fit into registers: TALL rows of WIDE vectors. */
#if defined(__AVX__) && !defined(__AVX512F__)
enum { WIDE = 2, TALL = 6 };
#else
enum { WIDE = 4, TALL = 6 };
#endif
enum { PANEL = WIDE * LANES };

/* Weights that are exact in 8 or 16 bits are kept so where the CPU widens them at once: a quarter or
 * half of the bytes. What compilers make of other conversions takes one number after the other. */
#if defined(__AVX__)
#include <immintrin.h>
#endif
#if defined(__F16C__) && defined(__AVX__)
enum { HALVES = 1 };
#else
enum { HALVES = 0 };
#endif
#if defined(__AVX2__)
enum { BYTES = 1 };
#else
enum { BYTES = 0 };
#endif

INLINE vec load_weights(const void *from, int64_t at, int bits) {
    if (bits == 32) return load((const float *)from + at);
    if (bits == 8) {
        const int8_t *whole = (const int8_t *)from + at;
#if defined(__AVX512F__)
        return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)whole)));
#elif defined(__AVX2__)
        return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)whole)));
#else
        return all(0.0f * whole[0]); /* never: BYTES is 0 */
#endif
    }
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)from + at)));
#elif defined(__F16C__) && defined(__AVX__)
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const void *)((const uint16_t *)from + at)));
#else
    return all(0.0f); /* never: HALVES is 0 */
#endif
}

/* Sums onto the bias; GELU of these; or sums times scale (columns,) onto there, rows apart. */
typedef enum { PLAIN, THEN_GELU, ONTO } Then;

typedef struct {
    const float *scale, *there;
    int64_t there_stride;
} Finish;

INLINE void tile(int tall, const Product *p, int bits, const float *rows, int64_t stride,
                 int64_t column, const Finish *finish, Then then, float *out) {
    const int64_t first = column * p->inner;
    vec sums[TALL][WIDE];
    for (int r = 0; r < tall; r++)
        for (int w = 0; w < WIDE; w++)
            sums[r][w] =
                then == ONTO || bits == 8 ? all(0.0f) : load(p->bias + column + w * LANES);
    for (int64_t k = 0; k < p->inner; k++) {
        vec weights[WIDE];
        for (int w = 0; w < WIDE; w++)
            weights[w] = load_weights(p->packed, first + k * PANEL + w * LANES, bits);
        for (int r = 0; r < tall; r++)
            for (int w = 0; w < WIDE; w++) sums[r][w] += weights[w] * rows[r * stride + k];
    }
    for (int r = 0; r < tall; r++)
        for (int w = 0; w < WIDE; w++) {
            const int64_t at = column + w * LANES;
            vec sum = sums[r][w];
            if (bits == 8) sum = sum * load(p->scale + at);
            if (bits == 8 && then != ONTO) sum = sum + load(p->bias + at);
            if (then == THEN_GELU) sum = gelu(sum);
            if (then == ONTO)
                sum = load(finish->there + r * finish->there_stride + at) +
                      sum * load(finish->scale + at);
            store(out + r * p->columns + at, sum);
        }
}

/* The rows of one panel's columns. */
INLINE void multiply_panel(const Product *p, int bits, const float *rows, int64_t stride,
                           int64_t count, int64_t column, Finish finish, Then then, float *out) {
    int64_t r = 0;
    for (; r + TALL <= count; r += TALL) {
        tile(TALL, p, bits, rows + r * stride, stride, column, &finish, then, out + r * p->columns);
        finish.there += TALL * finish.there_stride;
    }
    rows += r * stride;
    out += r * p->columns;
    switch (count - r) {
        case 1: tile(1, p, bits, rows, stride, column, &finish, then, out); break;
        case 2: tile(2, p, bits, rows, stride, column, &finish, then, out); break;
        case 3: tile(3, p, bits, rows, stride, column, &finish, then, out); break;
        case 4: tile(4, p, bits, rows, stride, column, &finish, then, out); break;
        case 5: tile(5, p, bits, rows, stride, column, &finish, then, out); break;
    }
}

INLINE void multiply_then(const Product *p, const float *rows, int64_t stride, int64_t count,
                          Finish finish, Then then, float *out) {
    for (int64_t column = 0; column < p->columns; column += PANEL) {
        if (BYTES && p->bits == 8)
            multiply_panel(p, 8, rows, stride, count, column, finish, then, out);
        else if (HALVES && p->bits == 16)
            multiply_panel(p, 16, rows, stride, count, column, finish, then, out);
        else
            multiply_panel(p, 32, rows, stride, count, column, finish, then, out);
    }
}

/* rows (count, inner), stride apart -> out (count, columns): rows @ matrix + bias. */
static void multiply(const Product *p, const float *rows, int64_t stride, int64_t count,
                     float *out) {
    multiply_then(p, rows, stride, count, (Finish){0}, PLAIN, out);
}

/* GELU of the same. */
static void multiply_gelu(const Product *p, const float *rows, int64_t stride, int64_t count,
                          float *out) {
    multiply_then(p, rows, stride, count, (Finish){0}, THEN_GELU, out);
}

/* there (count, columns) + scale (columns,) * (rows @ matrix). */
static void multiply_onto(const Product *p, const float *rows, int64_t stride, int64_t count,
                          const float *scale, const float *there, float *out) {
    multiply_then(p, rows, stride, count, (Finish){scale, there, p->columns}, ONTO, out);
}

#endif
