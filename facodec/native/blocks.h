/* ConvNeXt blocks of one frame (facodec/bundled/steps/blocks.py), and scratch memory. */

#ifndef FACODEC_BLOCKS_H
#define FACODEC_BLOCKS_H

#include <stdlib.h>

#include "products.h"

enum { KERNEL = CONTEXT + 1 };

/* Memory of one call, handed out piece by piece. */
typedef struct {
    char *next, *end;
} Scratch;

enum { ALIGNED = 64, PIECES = 64 /* at most, for what aligning them takes */ };

/* Room for so many floats; its first byte is to be freed. No room where there is no memory. */
INLINE Scratch scratch_for(int64_t floats) {
    int64_t bytes = (floats * (int64_t)sizeof(float) / ALIGNED + 1 + PIECES) * ALIGNED;
    char *first = aligned_alloc(ALIGNED, bytes);
    return (Scratch){first, first ? first + bytes : 0};
}

INLINE void *take(Scratch *scratch, int64_t bytes) {
    void *piece = scratch->next;
    scratch->next += (bytes + ALIGNED - 1) / ALIGNED * ALIGNED;
    if (scratch->next > scratch->end) abort(); /* a size was forgotten: better no result */
    return piece;
}

INLINE float *take_floats(Scratch *scratch, int64_t count) {
    return take(scratch, count * (int64_t)sizeof(float));
}

/* LayerNorm of x (width,), then gain and bias once more where there are such. */
INLINE void normalise(const Norm *norm, const float *x, int64_t width, const float *gain,
                      const float *bias, float *out) {
    vec sum = {0}, square = {0};
    for (int64_t i = 0; i < width; i += LANES) sum += load(x + i);
    float mean = total(sum) / (float)width;
    for (int64_t i = 0; i < width; i += LANES) {
        vec centred = load(x + i) - mean;
        square += centred * centred;
    }
    float scale = 1.0f / __builtin_sqrtf(total(square) / (float)width + norm->epsilon);
    for (int64_t i = 0; i < width; i += LANES) {
        vec y = (load(x + i) - mean) * scale * load(norm->gain + i) + load(norm->bias + i);
        if (gain) y = y * load(gain + i) + load(bias + i);
        store(out + i, y);
    }
}

/* What a stack needs beside its outputs. hidden: (count, 3 width), normed: (count, width). */
typedef struct {
    float *hidden, *normed;
} Workspace;

INLINE Workspace workspace(Scratch *scratch, int64_t count, int64_t width) {
    Workspace space;
    space.hidden = take_floats(scratch, count * 3 * width);
    space.normed = take_floats(scratch, count * width);
    return space;
}

/* outputs (1 + stack->count, count, width): the input, which is there, then what each block gives.
 *
 * filtered (count, width), filtered_stride apart: the input after the first block's filter; pasts
 * (count, ...), pasts_stride apart: what the pasts of the other blocks give, one after the other.
 * conditions (count, stack->count, 2, width) or none: gains and biases after the norms. */
static void run_stack(const Stack *stack, int64_t count, const float *filtered,
                      int64_t filtered_stride, const float *pasts, int64_t pasts_stride,
                      const float *conditions, Workspace space, float *outputs) {
    const int64_t width = stack->width, layer = count * width;
    for (int64_t b = 0; b < stack->count; b++) {
        const Block *block = stack->blocks + b;
        const float *x = outputs + b * layer;
        for (int64_t row = 0; row < count; row++) {
            const float *gain = 0, *bias = 0, *from = filtered + row * filtered_stride;
            float *normed = space.normed + row * width;
            if (conditions) {
                gain = conditions + (row * stack->count + b) * 2 * width;
                bias = gain + width;
            }
            if (b) {
                const float *past = pasts + row * pasts_stride + (b - 1) * width;
                for (int64_t i = 0; i < width; i += LANES)
                    store(normed + i,
                          load(past + i) + load(x + row * width + i) * load(block->last + i));
                from = normed;
            }
            normalise(&block->norm, from, width, gain, bias, normed);
        }
        multiply_gelu(&block->expand, space.normed, width, count, space.hidden);
        multiply_onto(&block->project, space.hidden, block->expand.columns, count, block->scale, x,
                      outputs + (b + 1) * layer);
    }
}

/* sum over frames of frame (width,) times weight, onto start. */
INLINE void weigh(const float *const *frames, const float *weights, int64_t count, int64_t width,
                  const float *start, float *out) {
    for (int64_t i = 0; i < width; i += LANES) {
        vec sum = load(start + i);
        for (int64_t f = 0; f < count; f++)
            sum += load(frames[f] + i) * load(weights + f * width + i);
        store(out + i, sum);
    }
}

/* Index of the largest of scores (count,), the first of equals; count a multiple of LANES. */
INLINE int64_t largest(const float *scores, int64_t count) {
    vec best = load(scores);
    ivec at = {0}, where = {0};
    for (int64_t i = LANES; i < count; i += LANES) {
        vec score = load(scores + i);
        ivec better = score > best;
        at += LANES;
        where = (at & better) | (where & ~better);
        best = either(better, score, best);
    }
    int64_t found = where[0];
    float most = best[0];
    for (int i = 1; i < LANES; i++) {
        int64_t index = where[i] + i;
        if (best[i] > most || (best[i] == most && index < found)) {
            most = best[i];
            found = index;
        }
    }
    return found;
}

#endif
