/* Fourier transforms of LANES signals at once, a lane each. */

#ifndef FACODEC_FOURIER_H
#define FACODEC_FOURIER_H

#include "facodec.h"
#include "vectors.h"

typedef struct {
    vec re, im;
} Complex;

INLINE Complex plus(Complex a, Complex b) { return (Complex){a.re + b.re, a.im + b.im}; }

INLINE Complex minus(Complex a, Complex b) { return (Complex){a.re - b.re, a.im - b.im}; }

INLINE Complex times(Complex a, const float *turn) {
    return (Complex){a.re * turn[0] - a.im * turn[1], a.re * turn[1] + a.im * turn[0]};
}

/* a - i b and a + i b. */
INLINE Complex minus_i(Complex a, Complex b) { return (Complex){a.re + b.im, a.im - b.re}; }

INLINE Complex plus_i(Complex a, Complex b) { return (Complex){a.re - b.im, a.im + b.re}; }

INLINE Complex blend(Complex a, float wa, Complex b, float wb) {
    return (Complex){a.re * wa + b.re * wb, a.im * wa + b.im * wb};
}

INLINE void transform_2(const Complex *x, int64_t apart, Complex *y) {
    y[0] = plus(x[0], x[apart]);
    y[1] = minus(x[0], x[apart]);
}

INLINE void transform_4(const Complex *x, int64_t apart, Complex *y) {
    Complex a = plus(x[0], x[2 * apart]), b = minus(x[0], x[2 * apart]);
    Complex c = plus(x[apart], x[3 * apart]), d = minus(x[apart], x[3 * apart]);
    y[0] = plus(a, c);
    y[1] = minus_i(b, d);
    y[2] = minus(a, c);
    y[3] = plus_i(b, d);
}

INLINE void transform_5(const Complex *x, int64_t apart, Complex *y) {
    const float c1 = 0.30901699437f, c2 = -0.80901699437f; /* cos of a fifth and two of a turn */
    const float s1 = 0.95105651630f, s2 = 0.58778525229f;
    Complex p = plus(x[apart], x[4 * apart]), q = minus(x[apart], x[4 * apart]);
    Complex r = plus(x[2 * apart], x[3 * apart]), s = minus(x[2 * apart], x[3 * apart]);
    Complex even1 = plus(x[0], blend(p, c1, r, c2)), even2 = plus(x[0], blend(p, c2, r, c1));
    Complex odd1 = blend(q, s1, s, s2), odd2 = blend(q, s2, s, -s1);
    y[0] = plus(x[0], plus(p, r));
    y[1] = minus_i(even1, odd1);
    y[2] = minus_i(even2, odd2);
    y[3] = plus_i(even2, odd2);
    y[4] = plus_i(even1, odd1);
}

INLINE void pass(const Fourier *f, int64_t radix, int64_t left, int64_t done, const Complex *x,
                 Complex *y) {
    const int64_t each = left / radix;
    for (int64_t p = 0; p < each; p++)
        for (int64_t q = 0; q < done; q++) {
            const Complex *from = x + q + done * p;
            Complex part[5];
            if (radix == 4) transform_4(from, done * each, part);
            if (radix == 5) transform_5(from, done * each, part);
            if (radix == 2) transform_2(from, done * each, part);
            Complex *to = y + q + done * radix * p;
            to[0] = part[0];
            for (int64_t k = 1; k < radix; k++)
                to[done * k] = times(part[k], f->turns + 2 * (p * k * done));
        }
}

/* The transform of x (size,), by Stockham's algorithm, which needs no sorting; other (size,) is
 * overwritten too. Returns where the result is: x or other. */
static Complex *transform(const Fourier *f, Complex *x, Complex *other) {
    for (int64_t left = f->size, done = 1; left > 1;) {
        int64_t radix = left % 4 == 0 ? 4 : left % 5 == 0 ? 5 : 2;
        if (radix == 4) pass(f, 4, left, done, x, other);
        if (radix == 5) pass(f, 5, left, done, x, other);
        if (radix == 2) pass(f, 2, left, done, x, other);
        left /= radix;
        done *= radix;
        Complex *swap = x;
        x = other;
        other = swap;
    }
    return x;
}

/* rows (count <= LANES, length), stride apart -> lanes[i * apart], i < length; no row, zeros. */
INLINE void to_lanes(const float *rows, int64_t stride, int64_t count, int64_t length, vec *lanes,
                     int64_t apart) {
    for (int64_t i = 0; i < length; i++) {
        float values[LANES] = {0};
        for (int64_t lane = 0; lane < count; lane++) values[lane] = rows[lane * stride + i];
        lanes[i * apart] = load(values);
    }
}

INLINE void from_lanes(const vec *lanes, int64_t apart, int64_t count, int64_t length,
                       float *rows, int64_t stride) {
    for (int64_t i = 0; i < length; i++) {
        float values[LANES];
        store(values, lanes[i * apart]);
        for (int64_t lane = 0; lane < count; lane++) rows[lane * stride + i] = values[lane];
    }
}

#endif
