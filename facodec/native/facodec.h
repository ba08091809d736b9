/* The C library of facodec: streaming steps of the bundled model, and of one layer of the published
 * one. facodec/native/compiled.py compiles all of it into one file on first use.
 *
 * Everything exported begins with facodec_. Nothing is kept between calls: constants and states
 * belong to the caller, and calls may run side by side as long as they have no rows in common. A
 * stream gives the same bits whatever the streams beside it. Tensors are contiguous, the batch
 * first; float is float32, double float64.
 *
 * The caller lays the structures out for itself. Before the first step it compares what
 * facodec_size and facodec_constant say with its own layouts and sizes
 * (facodec/bundled/steps/layouts.py). */

#ifndef FACODEC_H
#define FACODEC_H

#include <stdint.h>

#if !defined(FACODEC_HOP) || !defined(FACODEC_SAMPLE_RATE) || !defined(FACODEC_CODE_LAYERS) || \
    !defined(FACODEC_CONTENT_LAYERS) || !defined(FACODEC_DETAIL_LAYERS) ||                     \
    !defined(FACODEC_CODEBOOK_SIZE) || !defined(FACODEC_TIMBRE_DIM)
#error "expected -D options with the sizes of facodec/config.py, see facodec/native/compiled.py"
#endif

/* ---------------------------------------------------------------------------------------- sizes */

/* Of the frame format, facodec/config.py. */
enum {
    HOP = FACODEC_HOP,
    SAMPLE_RATE = FACODEC_SAMPLE_RATE,
    CODE_LAYERS = FACODEC_CODE_LAYERS,
    CONTENT_LAYERS = FACODEC_CONTENT_LAYERS,
    DETAIL_LAYERS = FACODEC_DETAIL_LAYERS,
    CODEBOOK_SIZE = FACODEC_CODEBOOK_SIZE,
    TIMBRE_DIM = FACODEC_TIMBRE_DIM,
    ABSENT = -1, /* code of a layer that was left out */
};

/* Of the bundled model, in facodec/bundled: causal.py, features.py, prosody.py, conditioning.py,
 * talker.py. */
enum { CONTEXT = 6 };
enum { HISTORY = 600, MEL_WINDOW = 640, MEL_BANDS = 80, MIN_LAG = 32, LAGS = 256 };
enum { PITCH_CLASSES = 128, LEVELS = 8, SECTIONS = 3, MEMORIES = 2 };

/* Of its synthesis, synthesis.py and steps/states.py. */
enum { SUBFRAMES = 2, N_FFT = 512, NOISE_FRAMES = 2048, TOP_HARMONIC = 7900, LARGEST = 8388606 };

/* Of the published model's Snake: channels come in multiples of it. */
enum { SNAKE_LANES = 16 };

/* --------------------------------------------------------------------------- constants of steps */

/* Rows times a matrix, plus a bias. packed: (columns / PANEL, inner, PANEL), float, or with bits 16
 * float16, or with bits 8 whole numbers, of which scale (columns,) says what 1 means; bias:
 * (columns,); columns a multiple of PANEL, see facodec_constant. */
typedef struct {
    const void *packed;
    const float *bias, *scale;
    int64_t inner, columns, bits;
} Product;

/* LayerNorm: gain and bias (width,). */
typedef struct {
    const float *gain, *bias;
    float epsilon;
} Norm;

/* A ConvNeXt block. last: the newest frame's weight in the depthwise filter; scale: of the residual
 * branch, both (width,). */
typedef struct {
    const float *last, *scale;
    Norm norm;
    Product expand, project;
} Block;

typedef struct {
    const Block *blocks;
    int64_t count, width;
} Stack;

/* The blocks whose past is kept: filter (CONTEXT, width), bias and offset (width,). */
typedef struct {
    const float *filter, *bias, *offset;
    int64_t width;
} Kept;

/* size: a product of 2, 4 and 5; turns (size, 2): cos and -sin of 2 pi i / size. */
typedef struct {
    const float *turns;
    int64_t size;
} Fourier;

/* A residual quantizer. words: (code_dim, CODEBOOK_SIZE), scored from a bias; taken (CODEBOOK_SIZE,
 * rest): what a word takes away in the later layers' spaces, for every layer but the last. */
typedef struct {
    Product project;
    Product words[DETAIL_LAYERS];
    const float *taken[DETAIL_LAYERS - 1];
    int64_t layers, code_dim;
} Chain;

typedef struct {
    const float *mel_window, *pitch_window, *untangle, *levels;
    Fourier mel_fourier;
    float mel_floor, energy_floor;
    Product mel_basis, enter_prosody, pitch, enter_mels;
    Stack prosody, content, detail, timbre;
    Kept kept;
    const float *first_filter, *first_bias; /* of content, detail and timbre */
    const float *word_table, *detail_filter, *timbre_offset;
    Chain content_chain, detail_chain;
    Product voice_head;
    const float *average, *octaves; /* first and second moments; of each pitch class */
    const double *sections;         /* (SECTIONS, 5): b0, b1, b2, a1, a2 */
    float limits[MEMORIES], tone_depth, stranger, same;
    float prior, pitch_prior;
    int64_t reference;
} Encoder;

/* noise: (NOISE_FRAMES, 2, padded bins), real and imaginary parts; shape: from tanh of the gains to
 * log-gain and phase, padded bins each; rise, bend (HOP,): of the pulses' phase. */
typedef struct {
    Product shape, correction;
    int64_t bands, phase_bands;
    const float *window, *noise;
    const double *rise, *bend, *hertz;
    Fourier fourier;
} Synthesizer;

typedef struct {
    const float *code_table, *first_filter, *first_bias, *offset;
    Stack stack;
    Kept kept;
    Product condition_enter, condition_leave, head;
    Norm head_norm;
    float glide;
    Synthesizer synthesizer;
} Decoder;

/* --------------------------------------------------------------------------- states of streams */

/* The tensors of FastEncoderState (facodec/bundled/steps/states.py), in their order: the rows of
 * all streams. */
typedef struct {
    float *history;
    double *conditioning;
    float *mels;
    int64_t *words;
    float *past[CONTEXT];
    float *pitches, *moments;
} EncoderStates;

/* Those of FastDecoderState. */
typedef struct {
    int64_t *codes;
    int16_t *high;
    uint8_t *low;
    float *step, *timbre;
    double *phase, *pitch;
    uint8_t *voiced;
    float *pulses;
    int64_t *noise;
    float *tail;
} DecoderStates;

/* -------------------------------------------------------------------------------------- calls */

/* Bytes of the structure of this name, 0 for a name that there is not. */
int64_t facodec_size(const char *kind);

/* The size of this name, as it was compiled: any positive one of the above; PANEL, columns that
 * packed matrices are padded to a multiple of; or HALVES and BYTES, 1 where they may be packed in 16
 * and in 8 bits.
 * Negative for a name that there is not. */
int64_t facodec_constant(const char *name);

/* Steps encoders by a hop: audio (count, HOP) of the streams in rows (count,) -> codes (count,
 * CODE_LAYERS); the states are then those after it. Returns 0, or -1 where there is no memory. */
int facodec_encode(const Encoder *encoder, const EncoderStates *states, const int64_t *rows,
                   int64_t count, const float *audio, int64_t *codes);

/* Reads the running estimates (count, TIMBRE_DIM) of the talkers in rows (count,) of pitches and
 * moments, tensors of EncoderStates. Returns 0, or -1 where there is no memory. */
int facodec_look(const Encoder *encoder, const float *pitches, const float *moments,
                 const int64_t *rows, int64_t count, float *timbres);

/* Steps decoders by a frame: codes (count, CODE_LAYERS) and timbres (count, TIMBRE_DIM) of the
 * streams in rows (count,) -> audio (count, HOP); the states are then those after it. Returns 0, or
 * -1 where there is no memory, or 1 for an invalid code; then nothing has changed. */
int facodec_decode(const Decoder *decoder, const DecoderStates *states, const int64_t *rows,
                   int64_t count, const int64_t *codes, const float *timbres, float *audio);

/* Steps the anti-aliased Snake: x (rows, count, channels), kept (rows, 5, channels), doubled (rows,
 * 10, channels) -> out as x, and what to keep next. up: 2 x 6 taps; down: 12 taps; frequency,
 * magnitude: a number a channel, channels a multiple of SNAKE_LANES. */
void facodec_snake_step(const float *x, const float *kept, const float *doubled, const float *up,
                        const float *down, const float *frequency, const float *magnitude,
                        float *out, float *kept_next, float *doubled_next, int64_t rows,
                        int64_t count, int64_t channels);

#endif
