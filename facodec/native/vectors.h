/* Vectors as GCC and Clang both know them, as wide as this CPU computes, and functions of them. */

#ifndef FACODEC_VECTORS_H
#define FACODEC_VECTORS_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t))));

#define INLINE static inline __attribute__((always_inline))

INLINE vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void store(float *to, vec value) { memcpy(to, &value, sizeof value); }

INLINE vec all(float value) { return value - (vec){0}; }

INLINE vec either(ivec condition, vec yes, vec no) {
    return (vec)(((ivec)yes & condition) | ((ivec)no & ~condition));
}

INLINE vec larger(vec a, vec b) { return either(a > b, a, b); }

INLINE vec smaller(vec a, vec b) { return either(a < b, a, b); }

INLINE vec absolute(vec x) { return (vec)((ivec)x & 0x7fffffff); }

INLINE vec root(vec x) {
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

/* Sum of the lanes, always in the same order. */
INLINE float total(vec x) {
    float lanes[LANES];
    store(lanes, x);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

/* To the nearest whole number, for |x| < 2^22: adding 1.5 * 2^23 leaves no room for fractions. */
INLINE vec rounded(vec x) {
    const float shift = 12582912.0f;
    return (x + shift) - shift;
}

INLINE vec whole_power_of_two(vec n) {
    return (vec)((__builtin_convertvector(n, ivec) + 127) << 23);
}

/* e^x: x = n ln 2 + r with ln 2 in two parts, then the minimax polynomial of Cephes' expf. */
INLINE vec exponential(vec x) {
    x = larger(smaller(x, all(88.0f)), all(-87.0f));
    vec n = rounded(x * 1.44269504f);
    vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return (p * r * r + r + 1.0f) * whole_power_of_two(n);
}

/* ln x of normal x > 0: x = 2^n m with m about 1, then the polynomial of Cephes' logf. */
INLINE vec logarithm(vec x) {
    ivec bits = (ivec)x;
    vec m = (vec)((bits & 0x007fffff) | 0x3f000000); /* 0.5 <= m < 1 */
    vec n = __builtin_convertvector((bits >> 23) - 126, vec);
    ivec low = m < 0.70710678f;
    n = n - either(low, all(1.0f), all(0.0f));
    m = either(low, m + m, m) - 1.0f;
    vec p = m * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    vec square = m * m;
    p = p * m * square - n * 2.12194440e-4f - square * 0.5f;
    return m + p + n * 0.693359375f;
}

INLINE vec tangent_hyperbolic(vec x) { return 1.0f - 2.0f / (1.0f + exponential(x + x)); }

/* GELU by tanh (Hendrycks & Gimpel 2016): x (1 + tanh u) / 2 = x / (1 + e^-2u). */
INLINE vec gelu(vec x) {
    vec twice = x * (1.5957691216f + 0.0713548163f * x * x);
    return x / (1.0f + exponential(-twice));
}

/* x = quarter turns + r, |r| <= pi / 4; pi / 2 in three parts, exact for |x| < 8000. */
INLINE vec reduced(vec x, ivec *quarter) {
    vec n = rounded(x * 0.63661977f);
    *quarter = __builtin_convertvector(n, ivec);
    return ((x - n * 1.5703125f) - n * 4.837512969970703e-4f) - n * 7.54978995489188e-8f;
}

/* Polynomials of Cephes' sinf and cosf, |r| <= pi / 4. */
INLINE vec sine_near_zero(vec r) {
    vec s = r * r;
    vec p = (s * -1.9515295891e-4f + 8.3321608736e-3f) * s - 1.6666654611e-1f;
    return r + r * s * p;
}

INLINE vec cosine_near_zero(vec r) {
    vec s = r * r;
    vec p = (s * 2.443315711809948e-5f - 1.388731625493765e-3f) * s + 4.166664568298827e-2f;
    return 1.0f - 0.5f * s + s * s * p;
}

INLINE void sine_cosine(vec x, vec *sine, vec *cosine) {
    ivec quarter;
    vec r = reduced(x, &quarter), s = sine_near_zero(r), c = cosine_near_zero(r);
    ivec odd = (quarter & 1) != 0;
    vec sin = either(odd, c, s), cos = either(odd, s, c);
    *sine = (vec)((ivec)sin ^ ((quarter & 2) << 30));
    *cosine = (vec)((ivec)cos ^ (((quarter + 1) & 2) << 30));
}

INLINE vec sine(vec x) {
    vec s, c;
    sine_cosine(x, &s, &c);
    return s;
}

#endif
