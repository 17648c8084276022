/* The search of one sentence: what nmt/decoding/beam.py, penalties.py and engine.py do for a batch.

K hypotheses, S source positions, V tokens that may be written, C most tokens of a translation. */

#ifndef NMT_SEARCH_H
#define NMT_SEARCH_H

#include "layers.h"

#define MAX_BEAMS 32
#define UNSEEN 1e-10f /* lower bound of a position's attention */
enum { PAD, UNK, BOS, EOS };

/* Mirrored by `Sentence` of nmt/kernels/few_rows.py. */
typedef struct {
    int64_t K, S, C, length; /* tokens written so far */
    int64_t ngram, limit;    /* no n-gram of that size more often than `limit`; 0: any */
    float coverage;          /* weight of the coverage penalty */
    float enough;            /* no open hypothesis of at most that log probability can win */
    int64_t done;            /* whether the search ended in this step */
    int64_t ended;           /* hypotheses that ended so far */
    const float *keys[MAX_ATTENTIONS], *values[MAX_ATTENTIONS];
    char *state, *spare; /* (K, state bytes) of the recurrent layers, and as much room */
    float *running;      /* (K,) log probabilities; -inf: no such hypothesis */
    int64_t *last;       /* (K,) */
    int64_t *tokens, *spare_tokens;     /* (K, C) */
    float *attended, *spare_attended;   /* (K, S), or NULL: no coverage penalty */
    float *weights;                     /* (attentions, K, S) of this step */
    float *weights_of_head;             /* (S,) */
    float *attention;                   /* (C, K, S) alignments of all steps, or NULL */
    int64_t *parents;                   /* (C, K): the beam that each hypothesis was before a step */
    const Matrix *output;               /* of the tokens that may be written, or NULL: all */
    const int64_t *allowed;             /* (V,) those tokens, rising, or NULL */
    const float *output_bias;           /* (V,) or NULL */
    int64_t finished_count;             /* hypotheses that ended in this step … */
    int64_t finished_beams[MAX_BEAMS];  /* … where they were before it, */
    float finished_scores[MAX_BEAMS];   /* their log probabilities, */
    float finished_coverage[MAX_BEAMS]; /* coverage penalties, */
    int64_t *finished_tokens;           /* and tokens without the end (K, C) */
} Sentence;

typedef struct {
    float score;
    int64_t beam, token; /* the token's place in V */
} Candidate;

INLINE float log_sum_exp(const float *x, int64_t n)
{
    float largest = largest_of(x, n), lanes[LANES] = {0};
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES)
        for (int64_t j = 0; j < LANES; j++) lanes[j] += exponential(x[i + j] - largest);
    float sum = 0;
    for (int64_t j = 0; j < LANES; j++) sum += lanes[j];
    for (int64_t i = whole; i < n; i++) sum += exponential(x[i] - largest);
    return largest + logf(sum);
}

/* The place of a token in V, or -1. */
static int64_t place_of(const Sentence *s, int64_t token, int64_t V)
{
    if (!s->allowed) return token;
    int64_t low = 0, high = V;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (s->allowed[middle] < token) low = middle + 1;
        else high = middle;
    }
    return low < V && s->allowed[low] == token ? low : -1;
}

/* Tokens that would complete an n-gram once too often get -inf. */
static void ban_repetitions(const Sentence *s, int64_t beam, float *scores, int64_t V)
{
    const int64_t *written = s->tokens + beam * s->C;
    int64_t n = s->ngram, windows = s->length - n + 1;
    if (n == 0 || windows < s->limit) return;
    const int64_t *last = written + s->length - n + 1;
    for (int64_t i = 0; i < windows; i++) {
        if (memcmp(written + i, last, 8 * (n - 1))) continue;
        int64_t token = written[i + n - 1], count = 0;
        for (int64_t j = 0; j < windows; j++)
            count += written[j + n - 1] == token && !memcmp(written + j, last, 8 * (n - 1));
        int64_t place = count >= s->limit ? place_of(s, token, V) : -1;
        if (place >= 0) scores[place] = -INFINITY;
    }
}

/* Insert the scores of one hypothesis into the best `count`; equals keep their order. */
static void collect(Candidate *best, int64_t count, const float *scores, int64_t V, float offset,
                    int64_t beam)
{
    for (int64_t first = 0; first < V; first += 64) {
        int64_t end = first + 64 < V ? first + 64 : V;
        if (!(largest_of(scores + first, end - first) + offset > best[count - 1].score)) continue;
        for (int64_t i = first; i < end; i++) {
            float score = scores[i] + offset;
            if (!(score > best[count - 1].score)) continue;
            int64_t place = count - 1;
            for (; place > 0 && score > best[place - 1].score; place--) best[place] = best[place - 1];
            best[place] = (Candidate){score, beam, i};
        }
    }
}

/* Logits of the K hypotheses, (K, V), written over → the best continuations. */
static void best_candidates(const Sentence *s, float *logits, int64_t V, Candidate *best,
                            int64_t count)
{
    for (int64_t i = 0; i < count; i++) best[i] = (Candidate){-INFINITY, 0, PAD};
    for (int64_t k = 0; k < s->K; k++) {
        if (!(s->running[k] > -INFINITY)) continue;
        float *scores = logits + k * V, total = log_sum_exp(scores, V);
        for (int64_t i = 0; i < V; i++) scores[i] -= total;
        for (int64_t token = 0; token < EOS; token++) scores[token] = -INFINITY;
        ban_repetitions(s, k, scores, V);
        collect(best, count, scores, V, s->running[k], k);
    }
}

static float coverage_penalty(const Sentence *s, int64_t beam)
{
    if (!s->attended) return 0;
    float sum = 0;
    for (int64_t i = 0; i < s->S; i++) {
        float seen = s->attended[beam * s->S + i];
        sum += logf(seen < UNSEEN ? UNSEEN : seen > 1 ? 1 : seen);
    }
    return s->coverage * sum;
}

static void finish(Sentence *s, const Candidate *candidate)
{
    int64_t n = s->finished_count++;
    s->ended++;
    s->finished_beams[n] = candidate->beam;
    s->finished_scores[n] = candidate->score;
    s->finished_coverage[n] = coverage_penalty(s, candidate->beam);
    memcpy(s->finished_tokens + n * s->C, s->tokens + candidate->beam * s->C, 8 * s->length);
}

#define SWAP(type, a, b) do { type swapped = a; a = b; b = swapped; } while (0)

/* Hypothesis k continues `next[k]`. */
static void reorder(Sentence *s, const Candidate *next, int64_t state_bytes)
{
    for (int64_t k = 0; k < s->K; k++) {
        int64_t from = next[k].beam;
        memcpy(s->spare + k * state_bytes, s->state + from * state_bytes, state_bytes);
        memcpy(s->spare_tokens + k * s->C, s->tokens + from * s->C, 8 * s->length);
        if (s->attended) memcpy(s->spare_attended + k * s->S, s->attended + from * s->S, 4 * s->S);
    }
    SWAP(char *, s->state, s->spare);
    SWAP(int64_t *, s->tokens, s->spare_tokens);
    SWAP(float *, s->attended, s->spare_attended);
}

/* Extend the hypotheses by the best of their continuations. */
static void advance(Sentence *s, float *logits, int64_t V, int64_t alignment, int64_t state_bytes)
{
    const float *weights = s->weights + alignment * s->K * s->S;
    Candidate best[2 * MAX_BEAMS], next[MAX_BEAMS];
    int64_t K = s->K, count = K == 1 ? 1 : 2 * K, open = 0;
    for (int64_t i = 0; s->attended && i < K * s->S; i++) s->attended[i] += weights[i];
    best_candidates(s, logits, V, best, count);
    s->finished_count = 0;
    for (int64_t i = 0; i < count; i++) {
        if (s->allowed && best[i].score > -INFINITY) best[i].token = s->allowed[best[i].token];
        int ends = best[i].token == EOS;
        if (ends && i < K && best[i].score > -INFINITY) finish(s, &best[i]);
        if ((!ends || K == 1) && open < K) next[open++] = best[i];
    }
    if (s->attention)
        memcpy(s->attention + s->length * K * s->S, weights, 4 * K * s->S);
    if (K > 1) reorder(s, next, state_bytes);
    float best_running = -INFINITY;
    for (int64_t k = 0; k < K; k++) {
        s->parents[s->length * K + k] = next[k].beam;
        s->tokens[k * s->C + s->length] = s->last[k] = next[k].token;
        s->running[k] = next[k].score;
        if (next[k].score > best_running) best_running = next[k].score;
    }
    s->length++;
    s->done = s->length >= s->C || s->ended >= K || best_running <= s->enough;
}

#endif
