/* One streaming step of the anti-aliased Snake (facodec/published/activation.py), all in one pass.
 *
 * Channels last; 16 channels at a time are one vector, as GCC and Clang both know them. For each
 * new sample: a pair of samples of the doubled rate from six of the input, the activation of both,
 * and one output from the newest twelve of the doubled rate. */

#include <string.h>

#include "facodec.h"

enum { LANES = SNAKE_LANES, TILE = 32, UP = 6, DOWN = 12, KEPT = UP - 1, DOUBLED = DOWN - 2 };

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(float))));

static inline vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store(float *to, vec value) { memcpy(to, &value, sizeof value); }

/* sin(x)^2. The sign of the sine does not matter, so x is reduced to half a period around 0, with
 * pi in two parts; then Taylor's series, off by 6e-10 at the edge. */
static inline vec squared_sine(vec x) {
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    vec turns = (x * 0.31830988618f + round) - round;
    vec z = (x - turns * 3.140625f) - turns * 9.67653589793e-4f;
    z = (vec)((ivec)z & (z < 2.0f) & (z > -2.0f)); /* stays finite where x is beyond all sense */
    vec s = z * z;
    vec p = s * (1.0f / 6227020800.0f) - 1.0f / 39916800.0f;
    p = p * s + 1.0f / 362880.0f;
    p = p * s - 1.0f / 5040.0f;
    p = p * s + 1.0f / 120.0f;
    p = p * s - 1.0f / 6.0f;
    p = z + z * s * p;
    return p * p;
}

void facodec_snake_step(const float *x, const float *kept, const float *doubled, const float *up,
                        const float *down, const float *frequency, const float *magnitude,
                        float *out, float *kept_next, float *doubled_next, int64_t rows,
                        int64_t count, int64_t channels) {
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t c = 0; c < channels; c += LANES) {
            const vec pace = load(frequency + c), size = load(magnitude + c);
            vec window[KEPT + TILE], fast[DOUBLED + 2 * TILE];
            for (int64_t i = 0; i < KEPT; i++)
                window[i] = load(kept + (row * KEPT + i) * channels + c);
            for (int64_t i = 0; i < DOUBLED; i++)
                fast[i] = load(doubled + (row * DOUBLED + i) * channels + c);
            for (int64_t start = 0; start < count; start += TILE) {
                const int64_t tile = count - start < TILE ? count - start : TILE;
                const int64_t first = (row * count + start) * channels + c;
                for (int64_t i = 0; i < tile; i++)
                    window[KEPT + i] = load(x + first + i * channels);
                for (int64_t i = 0; i < 2 * tile; i++) {
                    const vec *from = window + i / 2;
                    const float *taps = up + i % 2 * UP;
                    vec sum = from[0] * taps[0];
                    for (int j = 1; j < UP; j++) sum += from[j] * taps[j];
                    fast[DOUBLED + i] = sum + size * squared_sine(sum * pace);
                }
                for (int64_t i = 0; i < tile; i++) {
                    vec sum = fast[2 * i] * down[0];
                    for (int j = 1; j < DOWN; j++) sum += fast[2 * i + j] * down[j];
                    store(out + first + i * channels, sum);
                }
                memmove(window, window + tile, KEPT * sizeof(vec));
                memmove(fast, fast + 2 * tile, DOUBLED * sizeof(vec));
            }
            for (int64_t i = 0; i < KEPT; i++)
                store(kept_next + (row * KEPT + i) * channels + c, window[i]);
            for (int64_t i = 0; i < DOUBLED; i++)
                store(doubled_next + (row * DOUBLED + i) * channels + c, fast[i]);
        }
    }
}
