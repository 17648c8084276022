/* The layers of a model, as nmt/runtime computes them, for whole sources and for one step.

S source positions, R rows (hypotheses of all sentences), H units, A attention units. */

#ifndef NMT_LAYERS_H
#define NMT_LAYERS_H

#include <stdlib.h>

#include "products.h"

#define MAX_INPUTS 4
#define MAX_ROWS 64  /* that go through the layers together */
#define SCORED 32    /* of them that are scored together; at least MAX_BEAMS */
#define TOGETHER 16  /* sentences that are encoded together */
#define MAX_LAYERS 64 /* of a side */
#define MAX_ATTENTIONS 4
#define LARGEST_ENERGY 43.0f /* exp(2 * 43) and its inverse are normal numbers of fp32 */
#define CELL_BOUND 1.0f
#define NORM_EPSILON 1e-5f /* as in PyTorch */

enum { EMBEDDING, LSTM, GRU, KEYS, ATTENTION, OUTPUT, CELL };

/* A step of rows with a cell of its own: see nmt/rules/cell_code.py. */
typedef void CellCode(long rows, long H, const float *inputs, const float *states,
                      const float *state, const float *memory, float *next_state,
                      float *next_memory, int threads);

/* Mirrored by `Layer` of nmt/kernels/few_rows.py; unused fields are 0. */
typedef struct {
    int64_t kind;
    int64_t inputs[MAX_INPUTS], input_count; /* earlier layers of the same side */
    float input_bounds[MAX_INPUTS];
    int64_t width;     /* of the output */
    float bound;       /* of the output's codes */
    int64_t residuals; /* how many inputs are added to the output */
    float clip;        /* bound of the output with residuals; 0: none */
    float cell_clip;   /* bound of the cells; 0: none */
    float logit_clip;  /* bound of logits; 0: none */
    int64_t reverse;   /* from the last token to the first */
    int64_t memory;    /* number of the attention's memory */
    Matrix first;      /* of the inputs; in a step of an LSTM, of inputs and state */
    Matrix second;     /* of the state */
    const void *table; /* coded embeddings (V, width) */
    const float *weight; /* (A,) attention's score weight, times -2; or a bias added to logits */
    CellCode *cell;      /* of a layer of the kind CELL */
    int64_t heads;       /* of an attention */
    int64_t products;    /* whether keys and attention score by products */
    const float *gain, *shift; /* (H,) of a cell's normalised output; NULL: it is not normalised */
} Layer;

typedef struct {
    int64_t format;
    int64_t source_count, target_count, attention_count;
    const Layer *source, *target;
    int64_t keys[MAX_ATTENTIONS], values[MAX_ATTENTIONS]; /* source layers that attentions read */
    int64_t alignment; /* the attention whose weights are alignments */
} Model;

INLINE int64_t row_bytes(const Model *model, const Layer *layer)
{
    return layer->width * (layer->kind == KEYS ? 4 : CODE_BYTES[model->format]);
}

/* Inputs of a row side by side, with zeros up to the stride. → the end. */
static char *concatenate(const Model *model, const Layer *layers, const Layer *layer,
                         char *const *outputs, int64_t row, char *x)
{
    for (int64_t i = 0; i < layer->input_count; i++) {
        int64_t bytes = row_bytes(model, &layers[layer->inputs[i]]);
        memcpy(x, outputs[layer->inputs[i]] + row * bytes, bytes);
        x += bytes;
    }
    return x;
}

INLINE void zero_to(char *from, char *to) { memset(from, 0, to - from); }

/* Gates (4H), with the cell's doubled, and c (H) → h and the next c. */
static void lstm_cell(const float *restrict gates, float *restrict c, float *restrict h, int64_t H,
                      float clip)
{
    for (int64_t i = 0; i < H; i++) {
        float input = sigmoid(gates[i]), forget = sigmoid(gates[H + i]);
        float cell = sigmoid(gates[2 * H + i]), output = sigmoid(gates[3 * H + i]);
        float next = c[i] * forget + 2 * input * cell - input;
        if (clip > 0) next = next < -clip ? -clip : next > clip ? clip : next;
        c[i] = next;
        h[i] = 2 * output * sigmoid(2 * next) - output;
    }
}

/* The inputs' and the state's part of the gates (3H), and h (H) → the next h. */
static void gru_cell(const float *restrict gates, const float *restrict recurrent,
                     float *restrict h, int64_t H)
{
    for (int64_t i = 0; i < H; i++) {
        float reset = sigmoid(gates[i] + recurrent[i]);
        float update = sigmoid(gates[H + i] + recurrent[H + i]);
        float value = 2 * sigmoid(2 * (gates[2 * H + i] + reset * recurrent[2 * H + i])) - 1;
        h[i] = value + update * (h[i] - value);
    }
}

static float sum_of(const float *x, int64_t n)
{
    int64_t whole = n / LANES * LANES;
    float lanes[LANES] = {0}, sum = 0;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int64_t j = 0; j < LANES; j++) lanes[j] += x[i + j];
    for (int64_t j = 0; j < LANES; j++) sum += lanes[j];
    for (int64_t i = whole; i < n; i++) sum += x[i];
    return sum;
}

/* Layer normalisation of h (H,), in place; `room` (H,) is written over. */
static void normalise(float *restrict h, const float *restrict gain, const float *restrict shift,
                      float *restrict room, int64_t H)
{
    float mean = sum_of(h, H) / (float)H;
    for (int64_t i = 0; i < H; i++) room[i] = (h[i] - mean) * (h[i] - mean);
    float scale = 1.0f / sqrtf(sum_of(room, H) / (float)H + NORM_EPSILON);
    for (int64_t i = 0; i < H; i++) h[i] = (h[i] - mean) * scale * gain[i] + shift[i];
}

/* A recurrent layer's output of one row, from h (written over), its code, and the inputs. */
static void recurrent_output(const Model *model, const Layer *layers, const Layer *layer,
                             char *const *outputs, int64_t row, float *restrict h,
                             const void *code, char *out, float *restrict sum)
{
    int64_t H = layer->width;
    if (!layer->residuals && !layer->gain) {
        memcpy(out, code, H * CODE_BYTES[model->format]);
        return;
    }
    if (layer->gain) normalise(h, layer->gain, layer->shift, sum, H);
    for (int64_t i = 0; i < layer->residuals; i++) {
        const Layer *input = &layers[layer->inputs[i]];
        decode(model->format, outputs[layer->inputs[i]] + row * row_bytes(model, input),
               layer->input_bounds[i], sum, H, i > 0);
    }
    for (int64_t i = 0; layer->residuals && i < H; i++) h[i] += sum[i];
    if (layer->clip > 0) {
        float clip = layer->clip;
        for (int64_t i = 0; i < H; i++) h[i] = h[i] < -clip ? -clip : h[i] > clip ? clip : h[i];
    }
    encode(model->format, h, layer->bound, out, H);
}

/* Sources side by side, the longest first: token t of sentence b is at `first[b] + t`. */
typedef struct {
    int64_t sentences, tokens; /* all together */
    int64_t first[TOGETHER], length[TOGETHER];
} Sources;

/* Inputs of all tokens, for a product. → NULL where memory is short. */
static char *all_inputs(const Model *model, const Layer *layer, char *const *outputs, int64_t tokens)
{
    int64_t stride = stride_of(&layer->first);
    char *x = malloc(tokens * stride);
    for (int64_t n = 0; x && n < tokens; n++)
        zero_to(concatenate(model, model->source, layer, outputs, n, x + n * stride),
                x + (n + 1) * stride);
    return x;
}

/* All tokens through a recurrent layer, a step of all sentences at a time. → 0 where memory is
short. */
static int scan(const Model *model, const Layer *layer, char *const *outputs, const Sources *sources,
                char *out)
{
    int64_t H = layer->width, N = layer->first.outputs, B = sources->sentences;
    /* A cell may have no product with the state. */
    int64_t stride = larger(stride_of(&layer->second), H * CODE_BYTES[model->format]);
    char *x = all_inputs(model, layer, outputs, sources->tokens);
    int64_t M = layer->second.outputs, parts = layer->kind == CELL ? 2 : 1; /* of a state */
    float *gates = malloc(4 * (sources->tokens * N + B * larger(M, 1)));
    float *states = calloc(parts * B + 2, 4 * H);
    char *codes = calloc(B, stride);
    int done = x && gates && states && codes;
    if (done) {
        float *recurrent = gates + sources->tokens * N, *h = states + parts * B * H, *sum = h + H;
        product(&layer->first, x, stride_of(&layer->first), sources->tokens, gates);
        for (int64_t b = 0; b < B; b++)
            encode(model->format, states, CELL_BOUND, codes + b * stride, H);
        int64_t active = B;
        for (int64_t t = 0; t < sources->length[0]; t++) {
            while (sources->length[active - 1] <= t) active--;
            if (M) product(&layer->second, codes, stride, active, recurrent);
            for (int64_t b = 0; b < active; b++) {
                int64_t place = layer->reverse ? sources->length[b] - 1 - t : t;
                int64_t n = sources->first[b] + place;
                float *g = gates + n * N, *state = states + b * parts * H;
                char *code = codes + b * stride;
                if (layer->kind == LSTM) {
                    for (int64_t i = 0; i < N; i++) g[i] += recurrent[b * N + i];
                    lstm_cell(g, state, h, H, layer->cell_clip);
                } else if (layer->kind == CELL) {
                    layer->cell(1, H, g, recurrent + b * M, state, state + H, state, state + H, 1);
                    memcpy(h, state, 4 * H);
                } else {
                    gru_cell(g, recurrent + b * N, state, H);
                    memcpy(h, state, 4 * H);
                }
                encode(model->format, h, CELL_BOUND, code, H);
                recurrent_output(model, model->source, layer, outputs, n, h, code,
                                 out + n * row_bytes(model, layer), sum);
            }
        }
    }
    free(x);
    free(gates);
    free(states);
    free(codes);
    return done;
}

/* Row by row, so that a number does not depend on where it is: in the last numbers of a loop,
compilers round elsewhere. */
static void attention_exponentials(float *x, int64_t rows, int64_t A)
{
    for (int64_t r = 0; r < rows; r++, x += A)
        for (int64_t i = 0; i < A; i++) {
            float e = x[i] < -LARGEST_ENERGY ? -LARGEST_ENERGY
                      : x[i] > LARGEST_ENERGY ? LARGEST_ENERGY : x[i];
            x[i] = exponential(2 * e);
        }
}

static int encode_layer(const Model *model, const Layer *layer, char *const *outputs,
                        const int64_t *tokens, const Sources *sources, char *out)
{
    int64_t bytes = row_bytes(model, layer);
    if (layer->kind == EMBEDDING) {
        for (int64_t n = 0; n < sources->tokens; n++)
            memcpy(out + n * bytes, (const char *)layer->table + tokens[n] * bytes, bytes);
        return 1;
    }
    if (layer->kind != KEYS) return scan(model, layer, outputs, sources, out);
    char *x = all_inputs(model, layer, outputs, sources->tokens);
    if (!x) return 0;
    product(&layer->first, x, stride_of(&layer->first), sources->tokens, (float *)out);
    if (!layer->products) attention_exponentials((float *)out, sources->tokens, layer->width);
    free(x);
    return 1;
}

/* At most TOGETHER sentences; arguments as those of `nmt_encode`. */
static int encode_together(const Model *model, const int64_t *tokens, const int64_t *lengths,
                           int64_t count, float *const *memories)
{
    char *outputs[MAX_LAYERS] = {0};
    Sources sources = {.sentences = count};
    for (int64_t b = 0; b < count; b++) {
        sources.first[b] = sources.tokens;
        sources.length[b] = lengths[b];
        sources.tokens += lengths[b];
    }
    int done = 1;
    for (int64_t l = 0; done && l < model->source_count; l++) {
        const Layer *layer = &model->source[l];
        outputs[l] = malloc(sources.tokens * row_bytes(model, layer));
        done = outputs[l] && encode_layer(model, layer, outputs, tokens, &sources, outputs[l]);
    }
    for (int64_t b = 0; done && b < count; b++) {
        for (int64_t a = 0; a < model->attention_count; a++) {
            const Layer *keys = &model->source[model->keys[a]];
            const Layer *values = &model->source[model->values[a]];
            float *const *to = memories + 2 * (b * model->attention_count + a);
            int64_t first = sources.first[b], S = lengths[b];
            memcpy(to[0], outputs[model->keys[a]] + first * row_bytes(model, keys),
                   4 * S * keys->width);
            decode(model->format, outputs[model->values[a]] + first * row_bytes(model, values),
                   values->bound, to[1], S * values->width, 0);
        }
    }
    for (int64_t l = 0; l < model->source_count; l++) free(outputs[l]);
    return done;
}

/* Tokens of some sentences with their ends, one after the other, the longest first. For each
sentence and attention, `memories` are where keys (S, A), as it reads them, and values (S, H), in
fp32, are written to. → 0 where memory is short. */
int64_t nmt_encode(const Model *model, const int64_t *tokens, const int64_t *lengths, int64_t count,
                   float *const *memories, int64_t threads)
{
    int done = 1;
    int64_t groups = larger(blocks_of(count, TOGETHER), count < threads ? count : threads);
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1) reduction(& : done)
    for (int64_t group = 0; group < groups; group++) {
        int64_t from = count * group / groups, to = count * (group + 1) / groups, first = 0;
        for (int64_t b = 0; b < from; b++) first += lengths[b];
        done &= encode_together(model, tokens + first, lengths + from, to - from,
                                memories + 2 * from * model->attention_count);
    }
    (void)threads; /* where there is no OpenMP */
    return done;
}

#endif
