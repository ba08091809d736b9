/* What this library was compiled for, by name: see facodec.h. */

#include "facodec.h"
#include "products.h"

typedef struct {
    const char *name;
    int64_t value;
} Named;

#define CONSTANT(name) {#name, name}
#define SIZE(kind) {#kind, sizeof(kind)}

static const Named constants[] = {
    CONSTANT(HOP),           CONSTANT(SAMPLE_RATE),    CONSTANT(CODE_LAYERS),
    CONSTANT(CONTENT_LAYERS), CONSTANT(DETAIL_LAYERS), CONSTANT(CODEBOOK_SIZE),
    CONSTANT(TIMBRE_DIM),    CONSTANT(CONTEXT),
    CONSTANT(HISTORY),       CONSTANT(MEL_WINDOW),     CONSTANT(MEL_BANDS),
    CONSTANT(MIN_LAG),       CONSTANT(LAGS),           CONSTANT(PITCH_CLASSES),
    CONSTANT(LEVELS),        CONSTANT(SECTIONS),       CONSTANT(MEMORIES),
    CONSTANT(SUBFRAMES),     CONSTANT(N_FFT),          CONSTANT(NOISE_FRAMES),
    CONSTANT(TOP_HARMONIC),  CONSTANT(LARGEST),        CONSTANT(SNAKE_LANES),
    CONSTANT(PANEL),         CONSTANT(HALVES),        CONSTANT(BYTES),
};

static const Named sizes[] = {
    SIZE(Product), SIZE(Norm),  SIZE(Block),   SIZE(Stack),
    SIZE(Kept),    SIZE(Fourier), SIZE(Chain), SIZE(Encoder),
    SIZE(Synthesizer), SIZE(Decoder), SIZE(EncoderStates), SIZE(DecoderStates),
};

static int64_t find(const Named *table, int64_t count, const char *name, int64_t none) {
    for (int64_t i = 0; i < count; i++)
        if (!strcmp(table[i].name, name)) return table[i].value;
    return none;
}

int64_t facodec_size(const char *kind) {
    return find(sizes, sizeof sizes / sizeof *sizes, kind, 0);
}

int64_t facodec_constant(const char *name) {
    return find(constants, sizeof constants / sizeof *constants, name, -1);
}
