/* One hop of the bundled model's decoder for any number of streams: facodec_decode of facodec.h, as
 * facodec/bundled/steps/decoder.py computes. */

#include <math.h>

#include "blocks.h"
#include "fourier.h"

enum { SUBHOP = HOP / SUBFRAMES, WINDOW = 2 * SUBHOP, BINS = N_FFT / 2 + 1, TAIL = N_FFT - SUBHOP };

enum {
    GROUP = 36,                             /* streams computed together */
    PADDED_BINS = (BINS + 15) / 16 * 16,    /* whole vectors, however wide */
    PADDED_HOP = (HOP + 15) / 16 * 16,
};

static const float PI = 3.14159265f;

typedef struct {
    const Decoder *d;
    const DecoderStates *states;
    const int64_t *rows;
    int64_t count;
    Scratch scratch;
} Call;

/* The timbres (count, TIMBRE_DIM) on their way to those given; the first frame starts there. */
static void glide(const Call *call, const float *wanted, float *out) {
    for (int64_t i = 0; i < call->count; i++) {
        const int64_t row = call->rows[i];
        const int64_t *newest = call->states->codes + ((row + 1) * CONTEXT - 1) * CODE_LAYERS;
        float *kept = call->states->timbre + row * TIMBRE_DIM;
        for (int64_t j = 0; j < TIMBRE_DIM; j += LANES) {
            vec there = load(wanted + i * TIMBRE_DIM + j);
            vec here = *newest < 0 ? there : load(kept + j);
            vec next = here + (there - here) * call->d->glide;
            store(out + i * TIMBRE_DIM + j, next);
            store(kept + j, next);
        }
    }
}

/* Gains and biases after the norms, (count, blocks, 2, width). */
static float *conditions_of(Call *call, const float *timbres) {
    const Product *enter = &call->d->condition_enter, *leave = &call->d->condition_leave;
    float *out = take_floats(&call->scratch, call->count * leave->columns);
    float *hidden = take_floats(&call->scratch, call->count * enter->columns);
    multiply(enter, timbres, TIMBRE_DIM, call->count, hidden);
    for (int64_t i = 0; i < call->count * enter->columns; i += LANES) {
        vec x = load(hidden + i);
        store(hidden + i, x / (1.0f + exponential(-x)));
    }
    multiply(leave, hidden, enter->columns, call->count, out);
    return out;
}

/* What seven frames of codes mean: x (count, width) the newest, filtered (count, width) all of
 * them after the first block's filter. Keeps the codes. */
static void enter(const Call *call, const int64_t *codes, float *x, float *filtered) {
    const Decoder *d = call->d;
    const int64_t width = d->stack.width;
    for (int64_t i = 0; i < call->count; i++) {
        int64_t frames[KERNEL][CODE_LAYERS];
        int64_t *kept = call->states->codes + call->rows[i] * CONTEXT * CODE_LAYERS;
        memcpy(frames, kept, CONTEXT * sizeof *frames);
        memcpy(frames[CONTEXT], codes + i * CODE_LAYERS, sizeof *frames);
        memcpy(kept, frames[1], CONTEXT * sizeof *frames);
        const float *rows[KERNEL][CODE_LAYERS];
        for (int f = 0; f < KERNEL; f++)
            for (int layer = 0; layer < CODE_LAYERS; layer++) {
                int64_t row = layer * (CODEBOOK_SIZE + 1) + 1 + frames[f][layer];
                rows[f][layer] = d->code_table + row * width;
            }
        for (int64_t j = 0; j < width; j += LANES) {
            vec sum = load(d->first_bias + j), meaning = {0};
            for (int f = 0; f < KERNEL; f++) {
                meaning = load(rows[f][0] + j);
                for (int layer = 1; layer < CODE_LAYERS; layer++)
                    meaning += load(rows[f][layer] + j);
                sum += meaning * load(d->first_filter + f * width + j);
            }
            store(x + i * width + j, meaning);
            store(filtered + i * width + j, sum);
        }
    }
}

typedef int16_t high_vec __attribute__((vector_size(LANES * sizeof(int16_t))));
typedef uint8_t low_vec __attribute__((vector_size(LANES * sizeof(uint8_t))));

/* Numbers in 24 bits, and back: the upper 16 and the lower 8 of whole multiples of a step. */
INLINE vec widened(const int16_t *high, const uint8_t *low) {
    high_vec upper;
    low_vec lower;
    memcpy(&upper, high, sizeof upper);
    memcpy(&lower, low, sizeof lower);
    return __builtin_convertvector(upper, vec) * 256.0f + __builtin_convertvector(lower, vec);
}

INLINE void narrowed(vec multiples, int16_t *high, uint8_t *low) {
    for (int i = 0; i < LANES; i++) multiples[i] = __builtin_rintf(multiples[i]);
    ivec whole = __builtin_convertvector(multiples, ivec);
    high_vec upper = __builtin_convertvector(whole >> 8, high_vec);
    low_vec lower = __builtin_convertvector(whole & 255, low_vec);
    memcpy(high, &upper, sizeof upper);
    memcpy(low, &lower, sizeof lower);
}

/* Of the kept pasts to the blocks' filters, (count, kept.width). */
static float *recall(Call *call) {
    const Kept *kept = &call->d->kept;
    float *out = take_floats(&call->scratch, call->count * kept->width);
    for (int64_t i = 0; i < call->count; i++) {
        const int64_t first = call->rows[i] * CONTEXT;
        for (int64_t j = 0; j < kept->width; j += LANES) {
            vec sum = load(kept->bias + j);
            for (int64_t f = 0; f < CONTEXT; f++) {
                int64_t at = (first + f) * kept->width + j;
                vec multiples = widened(call->states->high + at, call->states->low + at);
                vec numbers = multiples * call->states->step[first + f];
                sum += numbers * load(kept->filter + f * kept->width + j);
            }
            store(out + i * kept->width + j, sum);
        }
    }
    return out;
}

/* The pasts a frame later. outputs: those of the stack but the first and the last. */
static void keep(const Call *call, const float *outputs) {
    const Kept *kept = &call->d->kept;
    const int64_t width = call->d->stack.width;
    for (int64_t i = 0; i < call->count; i++) {
        const int64_t first = call->rows[i] * CONTEXT;
        const int64_t last = (first + CONTEXT - 1) * kept->width;
        int16_t *high = call->states->high + first * kept->width;
        uint8_t *low = call->states->low + first * kept->width;
        float *step = call->states->step + first, newest[kept->width];
        memmove(high, high + kept->width, (CONTEXT - 1) * kept->width * sizeof *high);
        memmove(low, low + kept->width, (CONTEXT - 1) * kept->width * sizeof *low);
        memmove(step, step + 1, (CONTEXT - 1) * sizeof *step);
        vec most = all(1e-20f);
        for (int64_t j = 0; j < kept->width; j += LANES) {
            const float *from = outputs + (j / width * call->count + i) * width + j % width;
            vec x = load(from) + load(kept->offset + j);
            most = larger(most, absolute(x));
            store(newest + j, x);
        }
        float largest = most[0];
        for (int lane = 1; lane < LANES; lane++)
            largest = most[lane] > largest ? most[lane] : largest;
        step[CONTEXT - 1] = largest / LARGEST;
        for (int64_t j = 0; j < kept->width; j += LANES)
            narrowed(load(newest + j) / step[CONTEXT - 1], call->states->high + last + j,
                     call->states->low + last + j);
    }
}

/* sum of cos(2 pi k phase), k = 1 .. harmonics, of unit power, by Dirichlet's closed form. */
INLINE vec dirichlet(vec phase, float harmonics) {
    vec half = sine(PI * phase);
    ivec near_zero = absolute(half) < 1e-4f;
    vec safe = either(near_zero, all(1.0f), half);
    vec ratio = sine((2.0f * harmonics + 1.0f) * PI * phase) / (2.0f * safe);
    return either(near_zero, all(harmonics), ratio - 0.5f) * sqrtf(2.0f / harmonics);
}

/* The pulse train (PADDED_HOP,) of one stream's hop, of unit power, its pitch gliding. */
static void pulse(const Call *call, int64_t row, int64_t code, float *out) {
    const Synthesizer *s = &call->d->synthesizer;
    double *phase = call->states->phase + row, *pitch = call->states->pitch + row;
    double phases[PADDED_HOP];
    const double now = s->hertz[code], held = now > 0 ? now : *pitch;
    const double before = call->states->voiced[row] ? *pitch : held;
    for (int i = 0; i < PADDED_HOP; i++) {
        int j = i < HOP ? i : HOP - 1;
        double at = *phase + before * s->rise[j] + (held - before) * s->bend[j];
        phases[i] = at - floor(at);
    }
    const float harmonics = (float)floor(TOP_HARMONIC / (before > held ? before : held));
    for (int i = 0; i < PADDED_HOP; i += LANES) {
        float some[LANES];
        for (int lane = 0; lane < LANES; lane++) some[lane] = (float)phases[i + lane];
        store(out + i, dirichlet(load(some), harmonics));
    }
    const double end = *phase + (before + held) * (HOP / 2 / (double)SAMPLE_RATE);
    *phase = end - floor(end);
    *pitch = held;
    call->states->voiced[row] = now > 0;
}

/* A spectrum's real and imaginary part. */
enum { PARTS = 2, SPECTRUM = PARTS * PADDED_BINS };

/* Spectra (count, SUBFRAMES, SPECTRUM) of the windowed pulses. */
static void excite(Call *call, const int64_t *codes, float *spectra) {
    const Synthesizer *s = &call->d->synthesizer;
    Scratch before = call->scratch;
    float *windows = take_floats(&call->scratch, LANES * SUBFRAMES * WINDOW);
    Complex *z = take(&call->scratch, N_FFT * sizeof(Complex));
    Complex *other = take(&call->scratch, N_FFT * sizeof(Complex));
    vec *parts = take(&call->scratch, SUBFRAMES * PARTS * BINS * sizeof(vec));
    for (int64_t i = 0; i < call->count; i += LANES) {
        int64_t lanes = call->count - i < LANES ? call->count - i : LANES;
        for (int64_t lane = 0; lane < lanes; lane++) {
            const int64_t row = call->rows[i + lane];
            float train[SUBHOP + PADDED_HOP], *kept = call->states->pulses + row * SUBHOP;
            memcpy(train, kept, SUBHOP * sizeof(float));
            pulse(call, row, codes[(i + lane) * CODE_LAYERS], train + SUBHOP);
            memcpy(kept, train + HOP, SUBHOP * sizeof(float));
            float *window = windows + lane * SUBFRAMES * WINDOW;
            for (int sub = 0; sub < SUBFRAMES; sub++)
                for (int j = 0; j < WINDOW; j++)
                    window[sub * WINDOW + j] = train[sub * SUBHOP + j] * s->window[j];
        }
        memset(z + WINDOW, 0, (N_FFT - WINDOW) * sizeof *z);
        to_lanes(windows, SUBFRAMES * WINDOW, lanes, WINDOW, &z->re, PARTS);
        to_lanes(windows + WINDOW, SUBFRAMES * WINDOW, lanes, WINDOW, &z->im, PARTS);
        /* Two real signals in one transform: z = a + i b. */
        const Complex *both = transform(&s->fourier, z, other);
        for (int64_t k = 0; k < BINS; k++) {
            Complex p = both[k], q = both[(N_FFT - k) % N_FFT];
            parts[k] = (p.re + q.re) * 0.5f;
            parts[BINS + k] = (p.im - q.im) * 0.5f;
            parts[2 * BINS + k] = (p.im + q.im) * 0.5f;
            parts[3 * BINS + k] = (q.re - p.re) * 0.5f;
        }
        for (int part = 0; part < SUBFRAMES * PARTS; part++)
            from_lanes(parts + part * BINS, 1, lanes, BINS,
                       spectra + i * SUBFRAMES * SPECTRUM + part * PADDED_BINS,
                       SUBFRAMES * SPECTRUM);
    }
    call->scratch = before;
}

/* spectrum = excitation * harmonic filter + noise * noise filter; log-gains and phases of both. */
INLINE void shape_bins(float *spectrum, const float *harmonic, const float *turned,
                       const float *noise, const float *noise_filter) {
    for (int k = 0; k < PADDED_BINS; k += LANES) {
        vec sin, cos, re = load(spectrum + k), im = load(spectrum + PADDED_BINS + k);
        sine_cosine(load(harmonic + PADDED_BINS + k) + load(turned + k), &sin, &cos);
        vec gain = exponential(load(harmonic + k)), a = gain * cos, b = gain * sin;
        vec out_re = re * a - im * b, out_im = re * b + im * a;
        sine_cosine(load(noise_filter + PADDED_BINS + k), &sin, &cos);
        gain = exponential(load(noise_filter + k));
        a = gain * cos;
        b = gain * sin;
        re = load(noise + k);
        im = load(noise + PADDED_BINS + k);
        store(spectrum + k, out_re + (re * a - im * b));
        store(spectrum + PADDED_BINS + k, out_im + (re * b + im * a));
    }
}

/* Shapes the pulses' spectra and adds noise, as predicted (count, head.columns) wants it. */
static void shape(Call *call, const float *predicted, float *spectra) {
    const Synthesizer *s = &call->d->synthesizer;
    const int64_t n = call->count, gains = 2 * SUBFRAMES * s->bands, columns = s->shape.columns;
    Scratch before = call->scratch;
    float *bounded = take_floats(&call->scratch, n * gains);
    float *corrections = take_floats(&call->scratch, n * SUBFRAMES * s->phase_bands);
    float *shapes = take_floats(&call->scratch, n * 2 * SUBFRAMES * columns);
    float *turned = take_floats(&call->scratch, n * SUBFRAMES * s->correction.columns);
    for (int64_t i = 0; i < n; i++) {
        const float *own = predicted + i * call->d->head.columns;
        for (int64_t j = 0; j < gains; j += LANES)
            store(bounded + i * gains + j, tangent_hyperbolic(load(own + j)));
        memcpy(corrections + i * SUBFRAMES * s->phase_bands, own + gains,
               SUBFRAMES * s->phase_bands * sizeof(float));
    }
    multiply(&s->shape, bounded, s->bands, n * 2 * SUBFRAMES, shapes);
    multiply(&s->correction, corrections, s->phase_bands, n * SUBFRAMES, turned);
    for (int64_t i = 0; i < n; i++) {
        int64_t *position = call->states->noise + call->rows[i];
        for (int sub = 0; sub < SUBFRAMES; sub++)
            shape_bins(spectra + (i * SUBFRAMES + sub) * SPECTRUM,
                       shapes + (i * 2 * SUBFRAMES + sub) * columns,
                       turned + (i * SUBFRAMES + sub) * s->correction.columns,
                       s->noise + (*position + sub) % NOISE_FRAMES * SPECTRUM,
                       shapes + ((i * 2 + 1) * SUBFRAMES + sub) * columns);
        *position = (*position + SUBFRAMES) % NOISE_FRAMES;
    }
    call->scratch = before;
}

/* Adds a frame's two responses to what still sounds, and gives out the hop that is complete. */
static void overlap_add(float *tail, const float *responses, float *audio) {
    float sum[SUBHOP + N_FFT] = {0};
    memcpy(sum, tail, TAIL * sizeof(float));
    for (int sub = 0; sub < SUBFRAMES; sub++)
        for (int j = 0; j < N_FFT; j++) sum[sub * SUBHOP + j] += responses[sub * N_FFT + j];
    memcpy(audio, sum, HOP * sizeof(float));
    memcpy(tail, sum + HOP, TAIL * sizeof(float));
}

/* Spectra (count, SUBFRAMES, SPECTRUM) to audio (count, HOP). */
static void sound(Call *call, const float *spectra, float *audio) {
    const Synthesizer *s = &call->d->synthesizer;
    Complex *z = take(&call->scratch, N_FFT * sizeof(Complex));
    Complex *other = take(&call->scratch, N_FFT * sizeof(Complex));
    vec *parts = take(&call->scratch, SUBFRAMES * PARTS * BINS * sizeof(vec));
    float *responses = take_floats(&call->scratch, LANES * SUBFRAMES * N_FFT);
    const vec *a_re = parts, *a_im = parts + BINS;
    const vec *b_re = parts + 2 * BINS, *b_im = parts + 3 * BINS;
    for (int64_t i = 0; i < call->count; i += LANES) {
        int64_t lanes = call->count - i < LANES ? call->count - i : LANES;
        for (int part = 0; part < SUBFRAMES * PARTS; part++)
            to_lanes(spectra + i * SUBFRAMES * SPECTRUM + part * PADDED_BINS, SUBFRAMES * SPECTRUM,
                     lanes, BINS, parts + part * BINS, 1);
        /* z = a + i b of both signals, its parts swapped: a forward transform then goes back. */
        z[0] = (Complex){b_re[0], a_re[0]};
        z[BINS - 1] = (Complex){b_re[BINS - 1], a_re[BINS - 1]};
        for (int64_t k = 1; k < BINS - 1; k++) {
            z[k] = (Complex){a_im[k] + b_re[k], a_re[k] - b_im[k]};
            z[N_FFT - k] = (Complex){b_re[k] - a_im[k], a_re[k] + b_im[k]};
        }
        const Complex *both = transform(&s->fourier, z, other);
        from_lanes(&both->im, PARTS, lanes, N_FFT, responses, SUBFRAMES * N_FFT);
        from_lanes(&both->re, PARTS, lanes, N_FFT, responses + N_FFT, SUBFRAMES * N_FFT);
        for (int64_t lane = 0; lane < lanes; lane++)
            overlap_add(call->states->tail + call->rows[i + lane] * TAIL,
                        responses + lane * SUBFRAMES * N_FFT, audio + (i + lane) * HOP);
    }
}

static void decode_group(Call *call, const int64_t *codes, const float *timbres, float *audio) {
    const Decoder *d = call->d;
    const int64_t n = call->count, width = d->stack.width;
    Workspace space = workspace(&call->scratch, n, width);
    float *gliding = take_floats(&call->scratch, n * TIMBRE_DIM);
    float *outputs = take_floats(&call->scratch, (d->stack.count + 1) * n * width);
    float *filtered = take_floats(&call->scratch, n * width);
    glide(call, timbres, gliding);
    enter(call, codes, outputs, filtered);
    const float *pasts = recall(call);
    const float *conditions = conditions_of(call, gliding);
    run_stack(&d->stack, n, filtered, width, pasts, d->kept.width, conditions, space, outputs);
    keep(call, outputs + n * width);

    float *last = outputs + d->stack.count * n * width;
    for (int64_t i = 0; i < n; i++) {
        float *own = last + i * width;
        for (int64_t j = 0; j < width; j += LANES)
            store(own + j, load(own + j) + load(d->offset + j));
        normalise(&d->head_norm, own, width, 0, 0, own);
    }
    float *predicted = take_floats(&call->scratch, n * d->head.columns);
    float *spectra = take_floats(&call->scratch, n * SUBFRAMES * SPECTRUM);
    memset(spectra, 0, n * SUBFRAMES * SPECTRUM * sizeof(float));
    multiply(&d->head, last, width, n, predicted);
    excite(call, codes, spectra);
    shape(call, predicted, spectra);
    sound(call, spectra, audio);
}

static int64_t scratch_floats(const Decoder *d, int64_t count) {
    const Synthesizer *s = &d->synthesizer;
    const int64_t width = d->stack.width;
    int64_t kept = (4 + d->stack.count + 1 + 1) * width + TIMBRE_DIM + d->kept.width +
                   d->condition_leave.columns + d->condition_enter.columns + d->head.columns +
                   SUBFRAMES * SPECTRUM;
    int64_t shapes = SUBFRAMES * (2 * s->bands + s->phase_bands + 2 * s->shape.columns +
                                  s->correction.columns);
    int64_t lanes = (4 * N_FFT + SUBFRAMES * PARTS * BINS + SUBFRAMES * N_FFT) * LANES;
    return count * (kept + shapes) + lanes;
}

/* Whether codes are ones that there are: layers but the first may be absent. */
static int valid(const int64_t *codes, int64_t count) {
    for (int64_t i = 0; i < count * CODE_LAYERS; i++)
        if (codes[i] < (i % CODE_LAYERS ? ABSENT : 0) || codes[i] >= CODEBOOK_SIZE) return 0;
    return 1;
}

int facodec_decode(const Decoder *decoder, const DecoderStates *states, const int64_t *rows,
                   int64_t count, const int64_t *codes, const float *timbres, float *audio) {
    if (!valid(codes, count)) return 1;
    const Scratch scratch = scratch_for(scratch_floats(decoder, count < GROUP ? count : GROUP));
    if (!scratch.next) return -1;
    for (int64_t done = 0; done < count; done += GROUP) {
        int64_t some = count - done < GROUP ? count - done : GROUP;
        Call call = {decoder, states, rows + done, some, scratch};
        decode_group(&call, codes + done * CODE_LAYERS, timbres + done * TIMBRE_DIM,
                     audio + done * HOP);
    }
    free(scratch.next);
    return 0;
}
