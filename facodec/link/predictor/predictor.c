/* The predictor of the entropy coder (facodec/link/entropy.py): shares of the 1024 values of a code.
 *
 * All are whole numbers below 2^24 or such divided by a power of two, which float32 holds exactly:
 * sums may be taken in any order, and are those of the Python code to the last bit. */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The frame format, told by the compiler's options (facodec/native/compiled.py), and sizes that
 * predictor_sizes says. */
enum { LAYERS = FACODEC_CODE_LAYERS, VALUES = FACODEC_CODEBOOK_SIZE, NONE = VALUES };
enum { LAGS = 2, SHARES = 1024, MOST_HIDDEN = 256 };

/* Laid out as facodec/link/native.py says. Lengths: embeddings 6 x 1025 x depth, past 12 depth x
 * 6 hidden, present 6 x 6 x depth x hidden, thresholds 6 x hidden, words 6 x hidden x 1024, biases
 * 6 x 1024, shares 1024. */
struct predictor {
    const float *embeddings, *past, *present, *thresholds, *words, *biases;
    const int32_t *shares;
    int64_t depth, hidden;
};

/* Bytes of struct predictor, MOST_HIDDEN, SHARES, LAGS: to be compared before the first call. */
void predictor_sizes(int64_t *sizes) {
    sizes[0] = sizeof(struct predictor);
    sizes[1] = MOST_HIDDEN;
    sizes[2] = SHARES;
    sizes[3] = LAGS;
}

static const float *embedding(const struct predictor *p, int64_t layer, int64_t code) {
    return p->embeddings + (layer * (VALUES + 1) + code) * p->depth;
}

/* sums[0..width) += known (depth) x rows (depth x width) */
static void add_product(const float *known, const float *rows, int64_t depth, int64_t width,
                        float *restrict sums) {
    for (int64_t i = 0; i < depth; i++) {
        const float factor = known[i];
        const float *restrict row = rows + i * width;
        for (int64_t j = 0; j < width; j++) sums[j] += factor * row[j];
    }
}

/* Codes of the frames before (2 x 6), newest first -> sums (6 x hidden). */
void predictor_begin(const struct predictor *p, const int64_t *past, float *sums) {
    const int64_t width = LAYERS * p->hidden;
    memcpy(sums, p->thresholds, width * sizeof *sums);
    for (int64_t i = 0; i < LAGS * LAYERS; i++)
        add_product(embedding(p, i % LAYERS, past[i]), p->past + i * p->depth * width, p->depth,
                    width, sums);
}

/* What a frame's code says for its later ones, added to sums (6 x hidden). */
void predictor_know(const struct predictor *p, int64_t layer, int64_t code, float *sums) {
    for (int64_t k = layer + 1; k < LAYERS; k++)
        add_product(embedding(p, layer, code),
                    p->present + (layer * LAYERS + k) * p->depth * p->hidden, p->depth, p->hidden,
                    sums + k * p->hidden);
}

/* Where the share of each value ends (1024); returns the last. */
int64_t predictor_ends(const struct predictor *p, int64_t layer, const float *sums,
                       int32_t *restrict ends) {
    float likely[VALUES];
    memcpy(likely, p->biases + layer * VALUES, sizeof likely);
    for (int64_t h = 0; h < p->hidden; h++) {
        float factor = floorf(sums[layer * p->hidden + h] * (1.0f / 64.0f));
        factor = factor < 0.0f ? 0.0f : factor > 127.0f ? 127.0f : factor;
        if (factor == 0.0f) continue;
        const float *restrict row = p->words + (layer * p->hidden + h) * VALUES;
        for (int64_t i = 0; i < VALUES; i++) likely[i] += factor * row[i];
    }
    float most = likely[0];
    for (int64_t i = 1; i < VALUES; i++) most = likely[i] > most ? likely[i] : most;
    int32_t end = 0;
    for (int64_t i = 0; i < VALUES; i++) {
        const float far = most - likely[i];
        end += p->shares[far < SHARES - 1 ? (int32_t)far : SHARES - 1];
        ends[i] = end;
    }
    return end;
}

/* The value whose share holds a place. */
int64_t predictor_find(const int32_t *ends, int64_t place) {
    int64_t low = 0, high = VALUES - 1;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (ends[middle] > place) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Codes (layers x frames) of a packet -> start, width and total of each (frames x layers x 3). */
void predictor_shares(const struct predictor *p, const int64_t *codes, int64_t layers,
                      int64_t frames, int64_t *out) {
    float sums[LAYERS * MOST_HIDDEN];
    int32_t ends[VALUES];
    int64_t past[LAGS * LAYERS];
    for (int64_t i = 0; i < LAGS * LAYERS; i++) past[i] = NONE;
    for (int64_t t = 0; t < frames; t++) {
        predictor_begin(p, past, sums);
        memcpy(past + LAYERS, past, LAYERS * sizeof *past);
        for (int64_t k = 0; k < layers; k++) {
            const int64_t code = codes[k * frames + t], total = predictor_ends(p, k, sums, ends);
            const int64_t start = code ? ends[code - 1] : 0;
            *out++ = start;
            *out++ = ends[code] - start;
            *out++ = total;
            predictor_know(p, k, code, sums);
            past[k] = code;
        }
    }
}
