/* One hop of the bundled model's encoder for any number of streams: facodec_encode and facodec_look
 * of facodec.h, as facodec/bundled/steps/encoder.py computes. */

#include "blocks.h"
#include "fourier.h"

enum { HEARD = HISTORY + HOP, MEL_FFT = MEL_WINDOW / 2, MEL_BINS = MEL_FFT + 1 };
enum { PADDED_BINS = (MEL_BINS + LANES - 1) / LANES * LANES };

enum {
    MEL_FRAME = MEL_BANDS + 1,
    FEATURES = MEL_BANDS + LAGS,
    GROUP = 36, /* streams computed together: more would leave the cache */
    ENTERING = 6, /* streams whose log-mels enter the stacks together */
};

typedef struct {
    const Encoder *e;
    const EncoderStates *states;
    const int64_t *rows;
    int64_t count;
    Scratch scratch;
} Call;

/* Takes a hop's offset and hum away, by recursions in transposed direct form II. A first sample's
 * offset counts as having been there for ever. */
static void condition(const double *sections, double *kept, int fresh, const float *audio,
                      float *out) {
    if (fresh) kept[0] = -sections[0] * audio[0];
    double own[2 * SECTIONS];
    memcpy(own, kept, sizeof own);
    for (int i = 0; i < HOP; i++) {
        double x = audio[i];
        for (int s = 0; s < SECTIONS; s++) {
            const double *b = sections + s * 5, *a = b + 3;
            double y = b[0] * x + own[2 * s];
            own[2 * s] = b[1] * x - a[0] * y + own[2 * s + 1];
            own[2 * s + 1] = b[2] * x - a[1] * y;
            x = y;
        }
        out[i] = (float)x;
    }
    memcpy(kept, own, sizeof own);
}

/* The streams' last 800 samples, (count, HEARD); the history is then that of the next hop. */
static float *listen(Call *call, const float *audio) {
    const EncoderStates *states = call->states;
    float *heard = take_floats(&call->scratch, call->count * HEARD);
    for (int64_t i = 0; i < call->count; i++) {
        const int64_t row = call->rows[i];
        float *own = heard + i * HEARD, *history = states->history + row * HISTORY;
        const float newest = states->mels[(row + 1) * CONTEXT * MEL_FRAME - 1];
        memcpy(own, history, HISTORY * sizeof(float));
        condition(call->e->sections, states->conditioning + row * 2 * SECTIONS, newest == 0,
                  audio + i * HOP, own + HISTORY);
        memcpy(history, own + HOP, HISTORY * sizeof(float));
    }
    return heard;
}

/* Spectra of real signals whose even samples are in the real part: |X| of bins 0 .. MEL_FFT. */
static void magnitudes(const Complex *z, const float *untangle, vec *out) {
    for (int64_t k = 0; k <= MEL_FFT; k++) {
        Complex a = z[k % MEL_FFT], b = z[(MEL_FFT - k) % MEL_FFT];
        b.im = -b.im;
        Complex even = plus(a, b), odd = times(minus(a, b), untangle + 2 * k);
        Complex x = {even.re + odd.im, even.im - odd.re};
        out[k] = root(x.re * x.re + x.im * x.im) * 0.5f;
    }
}

/* log10-mels of heard (count, HEARD), (count, FEATURES) apart, and level classes (count,). */
static void hear_spectrum(Call *call, const float *heard, float *features, int64_t *levels) {
    const Encoder *e = call->e;
    Scratch before = call->scratch;
    const int64_t columns = e->mel_basis.columns, bins = PADDED_BINS;
    float *windowed = take_floats(&call->scratch, call->count * MEL_WINDOW);
    float *magnitude = take_floats(&call->scratch, call->count * bins);
    float *mels = take_floats(&call->scratch, call->count * columns);
    Complex *z = take(&call->scratch, MEL_FFT * sizeof(Complex));
    Complex *other = take(&call->scratch, MEL_FFT * sizeof(Complex));
    vec *spectrum = take(&call->scratch, MEL_BINS * sizeof(vec));
    for (int64_t i = 0; i < call->count; i++) {
        const float *recent = heard + i * HEARD + HEARD - MEL_WINDOW;
        vec energy = {0};
        for (int64_t j = 0; j < MEL_WINDOW; j += LANES) {
            vec x = load(recent + j) * load(e->mel_window + j);
            energy += x * x;
            store(windowed + i * MEL_WINDOW + j, x);
        }
        float sum = total(energy);
        levels[i] = 0;
        for (int64_t level = 0; level < LEVELS - 1; level++) levels[i] += e->levels[level] < sum;
    }
    for (int64_t i = 0; i < call->count; i += LANES) {
        int64_t lanes = call->count - i < LANES ? call->count - i : LANES;
        to_lanes(windowed + i * MEL_WINDOW, MEL_WINDOW, lanes, MEL_WINDOW, &z->re, 1);
        magnitudes(transform(&e->mel_fourier, z, other), e->untangle, spectrum);
        from_lanes(spectrum, 1, lanes, MEL_BINS, magnitude + i * bins, bins);
    }
    multiply(&e->mel_basis, magnitude, bins, call->count, mels);
    for (int64_t i = 0; i < call->count; i++)
        for (int64_t band = 0; band < MEL_BANDS; band += LANES) {
            vec mel = larger(load(mels + i * columns + band), all(e->mel_floor));
            store(features + i * FEATURES + band, logarithm(mel) * 0.43429448f);
        }
    call->scratch = before;
}

enum { SUMS = 8 };

/* out[lag] = sum of x[i] x[i + MIN_LAG + lag]; zeros follow x (HEARD,). */
static void correlate(const float *x, float *out) {
    for (int64_t lag = 0; lag < LAGS; lag += SUMS * LANES) {
        const float *later = x + MIN_LAG + lag;
        vec sums[SUMS] = {{0}};
        for (int64_t i = 0; i < HEARD - MIN_LAG - lag; i++)
            for (int s = 0; s < SUMS && s * LANES + lag < LAGS; s++)
                sums[s] += load(later + i + s * LANES) * x[i];
        for (int s = 0; s < SUMS && s * LANES + lag < LAGS; s++)
            store(out + lag + s * LANES, sums[s]);
    }
}

/* The autocorrelation of heard (count, HEARD) over its energy, after the log-mels in features. */
static void hear_pitch(const Call *call, const float *heard, float *features) {
    for (int64_t i = 0; i < call->count; i++) {
        float windowed[HEARD + MIN_LAG + LAGS] = {0}, *out = features + i * FEATURES + MEL_BANDS;
        vec power = {0};
        for (int64_t j = 0; j < HEARD; j += LANES) {
            vec x = load(heard + i * HEARD + j) * load(call->e->pitch_window + j);
            store(windowed + j, x);
            power += x * x;
        }
        correlate(windowed, out);
        vec share = all(1.0f / (total(power) + call->e->energy_floor));
        for (int64_t lag = 0; lag < LAGS; lag += LANES) store(out + lag, load(out + lag) * share);
    }
}

/* Of the kept pasts to the blocks' filters, (count, kept.width). */
static float *recall(Call *call) {
    const Kept *kept = &call->e->kept;
    float *out = take_floats(&call->scratch, call->count * kept->width);
    for (int64_t i = 0; i < call->count; i++) {
        const float *frames[CONTEXT];
        for (int f = 0; f < CONTEXT; f++)
            frames[f] = call->states->past[f] + call->rows[i] * kept->width;
        weigh(frames, kept->filter, CONTEXT, kept->width, kept->bias, out + i * kept->width);
    }
    return out;
}

/* The newest frame of the pasts: layers of outputs (.., count, width), from a column on. Returns
 * the column after them. */
static int64_t keep(const Call *call, const float *outputs, int64_t layers, int64_t width,
                    int64_t column) {
    const Kept *kept = &call->e->kept;
    for (int64_t layer = 0; layer < layers; layer++, column += width)
        for (int64_t i = 0; i < call->count; i++) {
            const float *new = outputs + (layer * call->count + i) * width;
            float *to = call->states->past[CONTEXT - 1] + call->rows[i] * kept->width + column;
            for (int64_t j = 0; j < width; j += LANES)
                store(to + j, load(new + j) + load(kept->offset + column + j));
        }
    return column;
}

static void shift_pasts(const Call *call) {
    const int64_t width = call->e->kept.width;
    for (int64_t i = 0; i < call->count; i++)
        for (int f = 0; f + 1 < CONTEXT; f++)
            memcpy(call->states->past[f] + call->rows[i] * width,
                   call->states->past[f + 1] + call->rows[i] * width, width * sizeof(float));
}

/* The log-mels of seven frames enter three stacks: now (count, columns) the newest frame, filtered
 * (count, columns) all of them after the first blocks' filters. Keeps the log-mels. */
static void enter(Call *call, const float *features, float *now, float *filtered) {
    const Encoder *e = call->e;
    const int64_t columns = e->enter_mels.columns;
    Scratch before = call->scratch;
    float *frames = take_floats(&call->scratch, ENTERING * KERNEL * MEL_FRAME);
    float *entered = take_floats(&call->scratch, ENTERING * KERNEL * columns);
    for (int64_t first = 0; first < call->count; first += ENTERING) {
        int64_t some = call->count - first < ENTERING ? call->count - first : ENTERING;
        for (int64_t i = 0; i < some; i++) {
            float *own = frames + i * KERNEL * MEL_FRAME, *newest = own + CONTEXT * MEL_FRAME;
            float *mels = call->states->mels + call->rows[first + i] * CONTEXT * MEL_FRAME;
            memcpy(own, mels, CONTEXT * MEL_FRAME * sizeof(float));
            memcpy(newest, features + (first + i) * FEATURES, MEL_BANDS * sizeof(float));
            newest[MEL_BANDS] = 1.0f; /* meets the bias in the matrix */
            memcpy(mels, own + MEL_FRAME, CONTEXT * MEL_FRAME * sizeof(float));
        }
        multiply(&e->enter_mels, frames, MEL_FRAME, some * KERNEL, entered);
        for (int64_t i = 0; i < some; i++) {
            const float *own[KERNEL];
            for (int f = 0; f < KERNEL; f++) own[f] = entered + (i * KERNEL + f) * columns;
            weigh(own, e->first_filter, KERNEL, columns, e->first_bias,
                  filtered + (first + i) * columns);
            memcpy(now + (first + i) * columns, own[CONTEXT], columns * sizeof(float));
        }
    }
    call->scratch = before;
}

/* The codes (count, chain->layers) of latents (count, width). */
static void quantize(Call *call, const Chain *chain, const float *latents, int64_t width,
                     int64_t *codes) {
    Scratch before = call->scratch;
    const int64_t stride = chain->project.columns;
    float *left = take_floats(&call->scratch, call->count * stride);
    float *scores = take_floats(&call->scratch, call->count * CODEBOOK_SIZE);
    multiply(&chain->project, latents, width, call->count, left);
    for (int64_t layer = 0; layer < chain->layers; layer++) {
        const int64_t at = layer * chain->code_dim, after = at + chain->code_dim;
        const int64_t rest = chain->layers * chain->code_dim - after;
        /* The largest score is that of the nearest word: see FastChain. */
        multiply(chain->words + layer, left + at, stride, call->count, scores);
        for (int64_t i = 0; i < call->count; i++) {
            int64_t code = largest(scores + i * CODEBOOK_SIZE, CODEBOOK_SIZE);
            codes[i * chain->layers + layer] = code;
            for (int64_t j = 0; j < rest; j++)
                left[i * stride + after + j] -= chain->taken[layer][code * rest + j];
        }
    }
    call->scratch = before;
}

/* Adds what the content codes of seven frames mean to what enters the detail stack: to x the
 * newest, to filtered all of them. Keeps the codes. */
static void add_meaning(const Call *call, const int64_t *codes, float *x, float *filtered,
                        int64_t filtered_stride) {
    const Encoder *e = call->e;
    const int64_t width = e->detail.width;
    for (int64_t i = 0; i < call->count; i++) {
        int64_t words[KERNEL][CONTENT_LAYERS];
        int64_t *kept = call->states->words + call->rows[i] * CONTEXT * CONTENT_LAYERS;
        memcpy(words, kept, CONTEXT * sizeof *words);
        memcpy(words[CONTEXT], codes + i * CONTENT_LAYERS, sizeof *words);
        memcpy(kept, words[1], CONTEXT * sizeof *words);
        for (int f = 0; f < KERNEL; f++)
            for (int64_t j = 0; j < width; j += LANES) {
                vec meaning = {0};
                for (int layer = 0; layer < CONTENT_LAYERS; layer++) {
                    int64_t row = layer * (CODEBOOK_SIZE + 1) + 1 + words[f][layer];
                    meaning += load(e->word_table + row * width + j);
                }
                float *sum = filtered + i * filtered_stride + j;
                store(sum, load(sum) + meaning * load(e->detail_filter + f * width + j));
                if (f == CONTEXT) store(x + i * width + j, load(x + i * width + j) + meaning);
            }
    }
}

/* Whether a voiced frame's log-mels are no mere tone's. */
static int is_speech(const Encoder *e, const float *mels) {
    vec sum = {0}, most = load(mels);
    for (int64_t j = 0; j < MEL_BANDS; j += LANES) {
        sum += load(mels + j);
        most = larger(most, load(mels + j));
    }
    float top = most[0];
    for (int lane = 1; lane < LANES; lane++) top = most[lane] > top ? most[lane] : top;
    return top - total(sum) / MEL_BANDS < e->tone_depth;
}

INLINE float sum_of(const float *x, int64_t count) {
    vec sum = {0};
    for (int64_t j = 0; j < count; j += LANES) sum += load(x + j);
    return total(sum);
}

/* Counts a frame into a memory of so many. */
static void count_in(const Encoder *e, float limit, const float *hidden, int64_t pitch,
                     float *pitches, float *moments) {
    const int64_t width = e->timbre.width;
    float *first = moments, *second = moments + width;
    const float before = sum_of(pitches, PITCH_CLASSES);
    const float count = before + 1.0f < limit ? before + 1.0f : limit;
    const vec kept = all((count - 1.0f) / (before > 1.0f ? before : 1.0f));
    const vec share = all(1.0f / (count > 1.0f ? count : 1.0f));
    for (int64_t j = 0; j < PITCH_CLASSES; j += LANES) store(pitches + j, load(pitches + j) * kept);
    pitches[pitch] += 1.0f;
    for (int64_t j = 0; j < width; j += LANES) {
        vec h = load(hidden + j) + load(e->timbre_offset + j);
        store(first + j, load(first + j) + (h - load(first + j)) * share);
        store(second + j, load(second + j) + (h * h - load(second + j)) * share);
    }
}

/* Counts the newest frames that are speech into the talkers' memories. */
static void know_talkers(const Call *call, const float *features, const float *hidden,
                         const int64_t *pitch) {
    const Encoder *e = call->e;
    const int64_t width = e->timbre.width;
    for (int64_t i = 0; i < call->count; i++) {
        if (pitch[i] == 0 || !is_speech(e, features + i * FEATURES)) continue;
        for (int memory = 0; memory < MEMORIES; memory++) {
            const int64_t own = call->rows[i] * MEMORIES + memory;
            count_in(e, e->limits[memory], hidden + i * width, pitch[i],
                     call->states->pitches + own * PITCH_CLASSES,
                     call->states->moments + own * 2 * width);
        }
    }
}

/* Memory for the outputs of a stack, and where its last one will be. */
static float *outputs_of(Call *call, const Stack *stack, float **last) {
    float *outputs = take_floats(&call->scratch, (stack->count + 1) * call->count * stack->width);
    *last = outputs + stack->count * call->count * stack->width;
    return outputs;
}

static void first_outputs(const Call *call, const float *now, int64_t stride, int64_t width,
                          float *outputs) {
    for (int64_t i = 0; i < call->count; i++)
        memcpy(outputs + i * width, now + i * stride, width * sizeof(float));
}

INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Pitch classes (count,) of features (count, FEATURES). Returns the outputs of the stack. */
static const float *classify_pitch(Call *call, const float *features, const float *pasts,
                                   Workspace space, int64_t *pitch) {
    const Encoder *e = call->e;
    const Stack *stack = &e->prosody;
    const int64_t n = call->count, width = stack->width, kept = e->kept.width;
    float *last, *said = outputs_of(call, stack, &last);
    float *filtered = take_floats(&call->scratch, n * width);
    float *scores = take_floats(&call->scratch, n * e->pitch.columns);
    multiply(&e->enter_prosody, features, FEATURES, n, said);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < width; j += LANES) {
            vec newest = load(said + i * width + j) * load(stack->blocks->last + j);
            store(filtered + i * width + j, load(pasts + i * kept + j) + newest);
        }
    run_stack(stack, n, filtered, width, pasts + width, kept, 0, space, said);
    multiply(&e->pitch, last, width, n, scores);
    for (int64_t i = 0; i < n; i++)
        pitch[i] = largest(scores + i * e->pitch.columns, PITCH_CLASSES);
    return said;
}

/* The pasts a frame later, from the outputs of all stacks. Of the last three, the first block's
 * past is that of the log-mels and codes. */
static void keep_all(const Call *call, const float *said, const float *content,
                     const float *detail, const float *timbre) {
    const Encoder *e = call->e;
    const Stack *stacks[] = {&e->content, &e->detail, &e->timbre};
    const float *outputs[] = {content, detail, timbre};
    shift_pasts(call);
    int64_t column = keep(call, said, e->prosody.count, e->prosody.width, 0);
    for (int i = 0; i < 3; i++) {
        const int64_t width = stacks[i]->width;
        const float *later = outputs[i] + call->count * width;
        column = keep(call, later, stacks[i]->count - 1, width, column);
    }
}

static void encode_group(Call *call, const float *audio, int64_t *codes) {
    const Encoder *e = call->e;
    const int64_t n = call->count, kept = e->kept.width, columns = e->enter_mels.columns;
    int64_t widest = most(e->prosody.width, most(e->content.width, e->timbre.width));
    int64_t levels[GROUP], pitch[GROUP];
    Workspace space = workspace(&call->scratch, n, widest);
    float *features = take_floats(&call->scratch, n * FEATURES);
    float *heard = listen(call, audio), *pasts = recall(call);
    hear_spectrum(call, heard, features, levels);
    hear_pitch(call, heard, features);

    const float *said = classify_pitch(call, features, pasts, space, pitch);
    int64_t column = e->prosody.count * e->prosody.width;
    float *last;

    float *now = take_floats(&call->scratch, n * columns);
    float *entering = take_floats(&call->scratch, n * columns);
    enter(call, features, now, entering);

    int64_t content_codes[GROUP * CONTENT_LAYERS], detail_codes[GROUP * DETAIL_LAYERS], at = 0;
    float *content = outputs_of(call, &e->content, &last);
    first_outputs(call, now, columns, e->content.width, content);
    run_stack(&e->content, n, entering, columns, pasts + column, kept, 0, space, content);
    column += (e->content.count - 1) * e->content.width;
    quantize(call, &e->content_chain, last, e->content.width, content_codes);

    at += e->content.width;
    float *detail = outputs_of(call, &e->detail, &last);
    first_outputs(call, now + at, columns, e->detail.width, detail);
    add_meaning(call, content_codes, detail, entering + at, columns);
    run_stack(&e->detail, n, entering + at, columns, pasts + column, kept, 0, space, detail);
    column += (e->detail.count - 1) * e->detail.width;
    quantize(call, &e->detail_chain, last, e->detail.width, detail_codes);

    at += e->detail.width;
    float *timbre = outputs_of(call, &e->timbre, &last);
    first_outputs(call, now + at, columns, e->timbre.width, timbre);
    run_stack(&e->timbre, n, entering + at, columns, pasts + column, kept, 0, space, timbre);
    know_talkers(call, features, last, pitch);

    keep_all(call, said, content, detail, timbre);
    for (int64_t i = 0; i < n; i++) {
        int64_t *own = codes + i * CODE_LAYERS;
        int64_t *detailed = own + 1 + CONTENT_LAYERS;
        own[0] = pitch[i] * LEVELS + levels[i];
        memcpy(own + 1, content_codes + i * CONTENT_LAYERS, CONTENT_LAYERS * sizeof *own);
        memcpy(detailed, detail_codes + i * DETAIL_LAYERS, DETAIL_LAYERS * sizeof *own);
    }
}

INLINE int64_t stack_floats(const Stack *stack) { return (stack->count + 1) * stack->width; }

static int64_t scratch_floats(const Encoder *e, int64_t count) {
    const int64_t columns = e->enter_mels.columns;
    int64_t widest = most(e->prosody.width, most(e->content.width, e->timbre.width));
    int64_t stacks = stack_floats(&e->prosody) + stack_floats(&e->content) +
                     stack_floats(&e->detail) + stack_floats(&e->timbre);
    int64_t kept = HEARD + FEATURES + e->kept.width + e->prosody.width + e->pitch.columns +
                   2 * columns + 4 * widest;
    int64_t projected = most(e->content_chain.project.columns, e->detail_chain.project.columns);
    int64_t passing = most(MEL_WINDOW + PADDED_BINS + e->mel_basis.columns,
                           projected + CODEBOOK_SIZE);
    int64_t shared = most((4 * MEL_FFT + MEL_BINS) * LANES,
                          ENTERING * KERNEL * (MEL_FRAME + columns));
    return count * (stacks + kept + passing) + shared;
}

int facodec_encode(const Encoder *encoder, const EncoderStates *states, const int64_t *rows,
                   int64_t count, const float *audio, int64_t *codes) {
    const Scratch scratch = scratch_for(scratch_floats(encoder, count < GROUP ? count : GROUP));
    if (!scratch.next) return -1;
    for (int64_t done = 0; done < count; done += GROUP) {
        int64_t some = count - done < GROUP ? count - done : GROUP;
        Call call = {encoder, states, rows + done, some, scratch};
        encode_group(&call, audio + done * HOP, codes + done * CODE_LAYERS);
    }
    free(scratch.next);
    return 0;
}

/* The class in the middle of all that a talker was heard in, or of the reference, to begin with. */
static int64_t median_class(const Encoder *e, const float *pitches) {
    double all = e->pitch_prior, below = 0;
    for (int64_t j = 0; j < PITCH_CLASSES; j++) all += pitches[j];
    int64_t class = 0;
    for (int64_t j = 0; j < PITCH_CLASSES; j++) {
        below += pitches[j] + (j == e->reference ? e->pitch_prior : 0);
        class += below < all / 2;
    }
    return class;
}

/* Mean and deviation (2 width,) of what the timbre branch gave, with the average voice's weight. */
static void describe(const Encoder *e, const float *pitches, const float *moments, float *out) {
    const int64_t width = e->timbre.width;
    const float count = sum_of(pitches, PITCH_CLASSES), share = count / (count + e->prior);
    for (int64_t j = 0; j < width; j += LANES) {
        vec first = load(e->average + j), second = load(e->average + width + j);
        first += (load(moments + j) - first) * share;
        second += (load(moments + width + j) - second) * share;
        store(out + j, first);
        store(out + width + j, root(larger(second - first * first, all(1e-5f))));
    }
}

/* A timbre (TIMBRE_DIM,) from a voice of any length and pitch classes, the last number of which is
 * 0. */
static void finish(const Encoder *e, const float *voice, const float *pitches, float *timbre) {
    vec square = {0};
    for (int64_t j = 0; j < TIMBRE_DIM; j += LANES) square += load(voice + j) * load(voice + j);
    float length = __builtin_sqrtf(total(square));
    vec scale = all(1.0f / (length > 1e-12f ? length : 1e-12f));
    for (int64_t j = 0; j < TIMBRE_DIM; j += LANES) store(timbre + j, load(voice + j) * scale);
    timbre[TIMBRE_DIM - 1] = e->octaves[median_class(e, pitches)];
}

/* The timbre to tell from those of both memories; facodec/bundled/talker.py, reconcile. */
static void reconcile(const Encoder *e, float *long_one, float *short_one, const float *pitches,
                      float *timbre) {
    long_one[TIMBRE_DIM - 1] = short_one[TIMBRE_DIM - 1] = 0;
    vec product = {0};
    for (int64_t j = 0; j < TIMBRE_DIM; j += LANES)
        product += load(long_one + j) * load(short_one + j);
    float share = (total(product) - e->stranger) / (e->same - e->stranger);
    share = share < 0 ? 0 : share > 1 ? 1 : share;
    for (int64_t j = 0; j < TIMBRE_DIM; j += LANES) {
        vec there = load(long_one + j), here = load(short_one + j);
        store(timbre + j, here + (there - here) * share);
    }
    finish(e, timbre, pitches + (share < 0.5f ? PITCH_CLASSES : 0), timbre);
}

int facodec_look(const Encoder *e, const float *pitches, const float *moments,
                 const int64_t *rows, int64_t count, float *timbres) {
    const int64_t statistics = 2 * e->timbre.width, columns = e->voice_head.columns;
    Scratch scratch = scratch_for(MEMORIES * count * (statistics + columns));
    void *memory = scratch.next;
    if (!memory) return -1;
    float *described = take_floats(&scratch, MEMORIES * count * statistics);
    float *voices = take_floats(&scratch, MEMORIES * count * columns);
    for (int64_t i = 0; i < MEMORIES * count; i++) {
        const int64_t own = rows[i / MEMORIES] * MEMORIES + i % MEMORIES;
        describe(e, pitches + own * PITCH_CLASSES, moments + own * statistics,
                 described + i * statistics);
    }
    multiply(&e->voice_head, described, statistics, MEMORIES * count, voices);
    for (int64_t i = 0; i < count; i++) {
        const float *own = pitches + rows[i] * MEMORIES * PITCH_CLASSES;
        float *both = voices + i * MEMORIES * columns;
        finish(e, both, own, both);
        finish(e, both + columns, own, both + columns);
        reconcile(e, both, both + columns, own, timbres + i * TIMBRE_DIM);
    }
    free(memory);
    return 0;
}
