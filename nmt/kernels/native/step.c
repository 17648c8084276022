/* Decoding on a CPU: one call for each step of a batch of sentences.

nmt/runtime and nmt/decoding do the same with PyTorch's operations. There, calling the operations
takes most of the time of a single sentence, and a quarter of that of a large batch. R rows, the open
hypotheses of some sentences. */

#include "search.h"

/* Where a step keeps its numbers. */
typedef struct {
    char *outputs[MAX_LAYERS]; /* (R, ·) codes of each layer */
    char *x;           /* (R, ·) what a product reads */
    float *gates;      /* (R, ·) what it gives */
    float *recurrent, *h, *sum;
    int64_t threads; /* that share the products */
} Room;

/* The next `bytes` of the room, in whole lines of the cache. */
static void *part(char *base, int64_t *used, int64_t bytes)
{
    void *start = base ? base + *used : NULL;
    *used += blocks_of(bytes, 64) * 64;
    return start;
}

/* Lay the room out from `base` on → its bytes. */
static int64_t lay_out(const Model *model, char *base, Room *room)
{
    int64_t used = 0, stride = 64, outputs = 0, width = 0;
    for (int64_t l = 0; l < model->target_count; l++) {
        const Layer *layer = &model->target[l];
        room->outputs[l] = part(base, &used, MAX_ROWS * row_bytes(model, layer));
        stride = larger(stride, larger(stride_of(&layer->first), stride_of(&layer->second)));
        int64_t rows = layer->kind == OUTPUT ? SCORED : MAX_ROWS;
        outputs = larger(outputs, rows * larger(layer->first.outputs, layer->second.outputs));
        width = larger(width, larger(layer->width, layer->first.inputs));
    }
    room->x = part(base, &used, MAX_ROWS * stride);
    room->gates = part(base, &used, 4 * outputs);
    room->recurrent = part(base, &used, 4 * outputs);
    room->h = part(base, &used, 4 * width);
    room->sum = part(base, &used, 4 * width);
    return used;
}

/* Room for `nmt_step` by so many threads. */
int64_t nmt_room_bytes(const Model *model, int64_t threads)
{
    Room room;
    return threads * lay_out(model, NULL, &room);
}

/* Bytes of a row's state in a layer: numbers in fp32, then the code of h in those with cells. */
INLINE int64_t layer_state_bytes(const Model *model, const Layer *layer)
{
    if (layer->kind != LSTM && layer->kind != GRU && layer->kind != CELL) return 0;
    int64_t code = layer->kind == LSTM ? CODE_BYTES[model->format] : layer->kind == CELL ? 4 : 0;
    return blocks_of(layer->width * (4 + code), 64) * 64;
}

int64_t nmt_state_bytes(const Model *model)
{
    int64_t bytes = 0;
    for (int64_t l = 0; l < model->target_count; l++)
        bytes += layer_state_bytes(model, &model->target[l]);
    return bytes;
}

/* The states before the first step. */
void nmt_start(const Model *model, Sentence *s)
{
    int64_t bytes = nmt_state_bytes(model);
    memset(s->state, 0, s->K * bytes);
    for (int64_t k = 0; k < s->K; k++) {
        char *state = s->state + k * bytes;
        for (int64_t l = 0; l < model->target_count; l++) {
            const Layer *layer = &model->target[l];
            if (layer->kind == LSTM)
                encode(model->format, (float *)state, CELL_BOUND, state + 4 * layer->width,
                       layer->width);
            state += layer_state_bytes(model, layer);
        }
    }
}

typedef struct {
    Sentence *sentence;
    int64_t beam;
} Row;

static void recurrent_step(const Model *model, const Layer *layer, const Row *rows, int64_t R,
                           int64_t offset, int64_t state_bytes, Room *room, char *out)
{
    int64_t H = layer->width, stride = stride_of(&layer->first), N = layer->first.outputs;
    int64_t code_bytes = H * CODE_BYTES[model->format];
    for (int64_t r = 0; r < R; r++) {
        char *state = rows[r].sentence->state + rows[r].beam * state_bytes + offset;
        char *end = concatenate(model, model->target, layer, room->outputs, r, room->x + r * stride);
        if (layer->kind == LSTM) {
            memcpy(end, state + 4 * H, code_bytes);
            end += code_bytes;
        }
        zero_to(end, room->x + (r + 1) * stride);
    }
    product_by(room->threads, &layer->first, room->x, stride, R, room->gates);
    if (layer->second.outputs) {
        int64_t second = stride_of(&layer->second);
        for (int64_t r = 0; r < R; r++) {
            char *x = room->x + r * second;
            float *h = (float *)(rows[r].sentence->state + rows[r].beam * state_bytes + offset);
            encode(model->format, h, CELL_BOUND, x, H);
            zero_to(x + code_bytes, x + second);
        }
        product_by(room->threads, &layer->second, room->x, second, R, room->recurrent);
    }
    for (int64_t r = 0; r < R; r++) {
        float *state = (float *)(rows[r].sentence->state + rows[r].beam * state_bytes + offset);
        char *code = room->x; /* read by now */
        if (layer->kind == LSTM) {
            code = (char *)(state + H);
            lstm_cell(room->gates + r * N, state, room->h, H, layer->cell_clip);
        } else if (layer->kind == CELL) {
            layer->cell(1, H, room->gates + r * N, room->recurrent + r * layer->second.outputs,
                        state, state + H, state, state + H, 1);
            memcpy(room->h, state, 4 * H);
        } else {
            gru_cell(room->gates + r * N, room->recurrent + r * N, state, H);
            memcpy(room->h, state, 4 * H);
        }
        encode(model->format, room->h, CELL_BOUND, code, H);
        recurrent_output(model, model->target, layer, room->outputs, r, room->h, code,
                         out + r * row_bytes(model, layer), room->sum);
    }
}

/* Scores of all positions for a head's A units, of which the keys have `stride`: additive ones for
exp(2 q), or products with q where there is no weight → attention weights (S,). */
static void attend(const float *q, const float *keys, int64_t stride, const float *weight, int64_t A,
                   int64_t S, float *weights)
{
    int64_t whole = A / LANES * LANES;
    float scale = 1.0f / sqrtf((float)A);
    for (int64_t s = 0; s < S; s++) {
        const float *key = keys + s * stride;
        float lanes[LANES] = {0}, sum = 0;
        if (weight) {
            for (int64_t a = 0; a < whole; a += LANES)
                for (int64_t j = 0; j < LANES; j++)
                    lanes[j] += weight[a + j] / (1.0f + q[a + j] * key[a + j]);
            for (int64_t a = whole; a < A; a++) sum += weight[a] / (1.0f + q[a] * key[a]);
        } else {
            for (int64_t a = 0; a < whole; a += LANES)
                for (int64_t j = 0; j < LANES; j++) lanes[j] += q[a + j] * key[a + j];
            for (int64_t a = whole; a < A; a++) sum += q[a] * key[a];
        }
        for (int64_t j = 0; j < LANES; j++) sum += lanes[j];
        weights[s] = weight ? sum : sum * scale;
    }
    float largest = largest_of(weights, S), total = 0;
    for (int64_t s = 0; s < S; s++) total += weights[s] = exponential(weights[s] - largest);
    for (int64_t s = 0; s < S; s++) weights[s] /= total;
}

static void attention_step(const Model *model, const Layer *layer, const Row *rows, int64_t R,
                           Room *room, char *out)
{
    int64_t A = layer->first.outputs, H = layer->width, stride = stride_of(&layer->first);
    for (int64_t r = 0; r < R; r++)
        zero_to(concatenate(model, model->target, layer, room->outputs, r, room->x + r * stride),
                room->x + (r + 1) * stride);
    product_by(room->threads, &layer->first, room->x, stride, R, room->gates);
    if (!layer->products) attention_exponentials(room->gates, R, A);
    int64_t heads = layer->heads, units = A / heads, part = H / heads;
    for (int64_t r = 0; r < R; r++) {
        const Sentence *s = rows[r].sentence;
        const float *values = s->values[layer->memory], *keys = s->keys[layer->memory];
        float *mean = s->weights + (layer->memory * s->K + rows[r].beam) * s->S;
        float *weights = heads == 1 ? mean : s->weights_of_head;
        memset(room->h, 0, 4 * H);
        for (int64_t head = 0; head < heads; head++) {
            int64_t first = head * units;
            attend(room->gates + r * A + first, keys + first, A,
                   layer->products ? NULL : layer->weight + first, units, s->S, weights);
            float *h = room->h + head * part;
            const float *value = values + head * part;
            for (int64_t i = 0; i < s->S; i++)
                for (int64_t j = 0; j < part; j++) h[j] += weights[i] * value[i * H + j];
            if (heads == 1) continue;
            for (int64_t i = 0; i < s->S; i++)
                mean[i] = (head ? mean[i] : 0.0f) + weights[i] / (float)heads;
        }
        encode(model->format, room->h, layer->bound, out + r * row_bytes(model, layer), H);
    }
}

/* Logits of the rows of one sentence, in `room->gates`. → how many to a row. */
static int64_t output_step(const Model *model, const Layer *layer, const Sentence *s, int64_t first,
                           int64_t R, Room *room)
{
    const Matrix *m = s->output ? s->output : &layer->first;
    const float *bias = s->output ? s->output_bias : layer->weight;
    int64_t stride = stride_of(m), H = m->inputs;
    float bound = 0;
    for (int64_t i = 0; i < layer->input_count; i++) bound += layer->input_bounds[i];
    for (int64_t r = 0; r < R; r++) {
        for (int64_t i = 0; i < layer->input_count; i++) {
            int64_t input = layer->inputs[i];
            decode(model->format,
                   room->outputs[input] + (first + r) * row_bytes(model, &model->target[input]),
                   layer->input_bounds[i], room->sum, H, i > 0);
        }
        encode(model->format, room->sum, bound, room->x + r * stride, H);
        zero_to(room->x + r * stride + H * CODE_BYTES[model->format], room->x + (r + 1) * stride);
    }
    product_by(room->threads, m, room->x, stride, R, room->gates);
    float clip = layer->logit_clip;
    for (int64_t r = 0; r < R; r++) {
        float *logits = room->gates + r * m->outputs;
        for (int64_t i = 0; bias && i < m->outputs; i++) logits[i] += bias[i];
        for (int64_t i = 0; clip > 0 && i < m->outputs; i++)
            logits[i] = logits[i] < -clip ? -clip : logits[i] > clip ? clip : logits[i];
    }
    return m->outputs;
}

/* Hypotheses that do not exist come last: at first, all but one. */
INLINE int64_t open_rows(const Sentence *s)
{
    int64_t rows = 0;
    while (rows < s->K && s->running[rows] > -INFINITY) rows++;
    return rows;
}

/* The sentences' scores, and their next hypotheses by them. Sentences that may write all tokens
share products. */
static void search(const Model *model, Sentence *const *sentences, int64_t count, Room *room)
{
    int64_t state_bytes = nmt_state_bytes(model), row = 0, first = 0;
    while (first < count) {
        int64_t end = first + 1, R = open_rows(sentences[first]);
        while (!sentences[first]->output && end < count && !sentences[end]->output
               && R + open_rows(sentences[end]) <= SCORED)
            R += open_rows(sentences[end++]);
        int64_t V = output_step(model, &model->target[model->target_count - 1], sentences[first],
                                row, R, room);
        row += R;
        for (float *logits = room->gates; first < end; first++) {
            int64_t rows = open_rows(sentences[first]); /* before it changes */
            advance(sentences[first], logits, V, model->alignment, state_bytes);
            logits += rows * V;
        }
    }
}

/* Sentences with at most MAX_ROWS rows. */
static void step_together(const Model *model, Sentence *const *sentences, int64_t count, Room *room)
{
    Row rows[MAX_ROWS];
    int64_t R = 0, state_bytes = nmt_state_bytes(model), offset = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0, open = open_rows(sentences[i]); k < open; k++)
            rows[R++] = (Row){sentences[i], k};
    for (int64_t l = 0; l < model->target_count - 1; l++) {
        const Layer *layer = &model->target[l];
        char *out = room->outputs[l];
        int64_t bytes = row_bytes(model, layer);
        if (layer->kind == EMBEDDING) {
            for (int64_t r = 0; r < R; r++) {
                int64_t token = rows[r].sentence->last[rows[r].beam];
                memcpy(out + r * bytes, (const char *)layer->table + token * bytes, bytes);
            }
        } else if (layer->kind == ATTENTION) {
            attention_step(model, layer, rows, R, room, out);
        } else {
            recurrent_step(model, layer, rows, R, offset, state_bytes, room, out);
            offset += layer_state_bytes(model, layer);
        }
    }
    search(model, sentences, count, room);
}

/* Extend every open hypothesis of some sentences, all with the same number K, by one token. `base`
is room of `nmt_room_bytes`, in lines of 64 bytes. → how many sentences have new finished
hypotheses or are done; their numbers are in `events` (count,). */
int64_t nmt_step(const Model *model, Sentence *const *sentences, int64_t count, char *base,
                 int64_t threads, int64_t *events)
{
    int64_t most = MAX_ROWS / sentences[0]->K, found = 0, bytes = nmt_room_bytes(model, 1);
    int64_t groups = larger(blocks_of(count, most), count < threads ? count : threads);
    if (count == 1 || threads == 1) {
        Room room = {.threads = threads};
        lay_out(model, base, &room);
        for (int64_t group = 0; group < groups; group++) {
            int64_t from = count * group / groups, to = count * (group + 1) / groups;
            step_together(model, sentences + from, to - from, &room);
        }
    } else {
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t thread = 0; thread < threads; thread++) {
            Room room = {.threads = 1};
            lay_out(model, base + thread * bytes, &room);
            for (int64_t group = thread; group < groups; group += threads) {
                int64_t from = count * group / groups, to = count * (group + 1) / groups;
                step_together(model, sentences + from, to - from, &room);
            }
        }
    }
    for (int64_t i = 0; i < count; i++)
        if (sentences[i]->done || sentences[i]->finished_count) events[found++] = i;
    return found;
}
