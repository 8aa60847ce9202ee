/* SPDX-License-Identifier: Apache-2.0 */
/*
 * structured.c - see structured.h.
 *
 * Everything is composed before rotation and then rotated (RoPE, base 500 000, pairs
 * i and i + dim / 2) to its position. What a query is to find far away lies in pairs
 * that turn slowly, as in trained models; what it finds nearby in faster ones:
 *
 *   pairs 12-19  the local band      28, 29  channel outliers (channels 28, 29, 60)
 *   pairs 20-27  content: hitters, spans, clusters           31  sinks (channel 63)
 *
 * Every key and query is standard normal noise, and above it what is switched on.
 * A component of a query times that of a key, over sqrt(dim), is what it adds to
 * the logit: 5 to 7 for what a query is after.
 */
#include "tests/quality/structured.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/quality/random.h"

enum {
	LAYERS = 4, KV_HEADS = 2, Q_HEADS = 8, DIM = 64, HALF = DIM / 2,
	LOCAL_PAIR = 12, CONTENT_PAIR = 20, N_PAIRS = 8, PART = 2 * N_PAIRS,
	SINK_CHANNEL = 63,
	/* Behind the context: the question, then probes of both turns. */
	TAIL = STRUCTURED_ASKED + 2 * STRUCTURED_PROBES,
	MEANT = 3,		/* clusters that a query means */
};

static const uint32_t outlier_channel[STRUCTURED_OUTLIERS] = { 28, 29, 60 };
static const float outlier_size[STRUCTURED_OUTLIERS] = { 20, -10, 14 };

const struct shape structured_shape = { LAYERS, KV_HEADS, Q_HEADS, DIM };

/* One layer and kv head, while it is drawn. */
struct drawing {
	unsigned structure;
	struct random *random;
	uint32_t n_tokens;
	const struct structured_truth *truth;
	float hitter[PART], local[PART];
	float begin[STRUCTURED_SPANS][PART], rest[STRUCTURED_SPANS][PART];
	float cluster[STRUCTURED_CLUSTERS][PART];
	uint32_t agnostic[MEANT], asked[STRUCTURED_SPANS][MEANT];
	const uint8_t *is_hitter;
};

static void normalise(float *x, uint32_t n)
{
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	for (uint32_t i = 0; i < n; i++)
		x[i] = (float)((double)x[i] / sqrt(sum));
}

static void draw_direction(struct random *random, float *x, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		x[i] = random_normal(random);
	normalise(x, n);
}

/* Add `size` times a direction of PART numbers to the channels of its pairs. */
static void add_part(float *x, uint32_t first_pair, const float *part, float size)
{
	for (uint32_t i = 0; i < N_PAIRS; i++) {
		x[first_pair + i] += size * part[i];
		x[first_pair + i + HALF] += size * part[N_PAIRS + i];
	}
}

static void scale_part(float *x, uint32_t first_pair, float by)
{
	for (uint32_t i = 0; i < N_PAIRS; i++) {
		x[first_pair + i] *= by;
		x[first_pair + i + HALF] *= by;
	}
}

static void rotate(float *x, uint32_t pos)
{
	for (uint32_t i = 0; i < HALF; i++) {
		float angle = (float)pos * powf(500000.0f, -2.0f * (float)i / DIM);
		float a = x[i], b = x[i + HALF];

		x[i] = a * cosf(angle) - b * sinf(angle);
		x[i + HALF] = b * cosf(angle) + a * sinf(angle);
	}
}

static void draw_noise(struct random *random, float *x)
{
	for (uint32_t d = 0; d < DIM; d++)
		x[d] = random_normal(random);
}

static void step_local(struct drawing *d)
{
	const float keep = 0.97f;

	for (uint32_t i = 0; i < PART; i++)
		d->local[i] = keep * d->local[i] + sqrtf(1 - keep * keep) *
			      random_normal(d->random);
}

/* Is this token in the span, and in the part that a question finds? */
static int in_span(const struct drawing *d, uint32_t i, uint32_t pos, int *ret_begins)
{
	uint32_t at = pos - d->truth->span_first[i], n = d->truth->span_n[i];

	*ret_begins = at < n / 4 + 1;
	return pos >= d->truth->span_first[i] && at < n;
}

static void add_key_content(const struct drawing *d, float *k, uint32_t pos)
{
	int begins;

	if (pos >= d->n_tokens)
		return;
	if ((d->structure & HITTERS) && d->is_hitter[pos])
		add_part(k, CONTENT_PAIR, d->hitter, 6);
	if (d->structure & CLUSTERS)
		add_part(k, CONTENT_PAIR, d->cluster[d->truth->cluster[pos]], 5);
	for (uint32_t i = 0; (d->structure & SPANS) && i < STRUCTURED_SPANS; i++)
		if (in_span(d, i, pos, &begins)) {
			/* Content of about the usual size, so no norm tells it. */
			scale_part(k, CONTENT_PAIR, 0.2f);
			add_part(k, CONTENT_PAIR, begins ? d->begin[i] : d->rest[i],
				 5);
		}
}

static void draw_key(struct drawing *d, float *k, uint32_t pos)
{
	int sink = (d->structure & SINKS) && pos < STRUCTURED_SINKS;

	draw_noise(d->random, k);
	if (d->structure & LOCAL)
		add_part(k, LOCAL_PAIR, d->local, 2.5f);
	add_key_content(d, k, pos);
	if (d->structure & OUTLIERS)
		for (int i = 0; i < STRUCTURED_OUTLIERS; i++)
			k[outlier_channel[i]] += outlier_size[i];
	if (d->structure & SINKS)
		k[SINK_CHANNEL] *= 0.05f;
	if (sink) {
		for (uint32_t c = 0; c < DIM; c++)
			k[c] = 0.2f * random_normal(d->random);
		k[SINK_CHANNEL] = 3;
	}
	rotate(k, pos);
}

/* What a query is after: span -1: nothing in particular. */
struct aim {
	int span;
	int answers;		/* it needs the rest of the span as well */
	const uint32_t *meant;
	float sharp;
};

static void draw_query(struct drawing *d, const struct aim *aim, float *q, uint32_t pos)
{
	draw_noise(d->random, q);
	if (d->structure & LOCAL)
		add_part(q, LOCAL_PAIR, d->local, 2);
	if (d->structure & HITTERS)
		add_part(q, CONTENT_PAIR, d->hitter, 6);
	if (d->structure & CLUSTERS)
		for (int i = 0; i < MEANT; i++)
			add_part(q, CONTENT_PAIR, d->cluster[aim->meant[i]], 5);
	if ((d->structure & SPANS) && aim->span >= 0) {
		add_part(q, CONTENT_PAIR, d->begin[aim->span], 11);
		if (aim->answers)
			add_part(q, CONTENT_PAIR, d->rest[aim->span], 11);
	}
	for (int i = 0; (d->structure & OUTLIERS) && i < STRUCTURED_OUTLIERS; i++)
		q[outlier_channel[i]] *= 0.3f;
	if (d->structure & SINKS)
		q[SINK_CHANNEL] = 18;
	for (uint32_t c = 0; c < DIM; c++)
		q[c] *= aim->sharp;
	rotate(q, pos);
}

static void draw_value(struct drawing *d, float *v, uint32_t pos)
{
	float z[STRUCTURED_RANK];

	draw_noise(d->random, v);
	for (uint32_t i = 0; i < STRUCTURED_RANK; i++)
		z[i] = random_normal(d->random) * sqrtf((float)DIM /
							STRUCTURED_RANK);
	if (d->structure & LOW_RANK)
		for (uint32_t c = 0; c < DIM; c++) {
			v[c] *= 0.1f;
			for (uint32_t i = 0; i < STRUCTURED_RANK; i++)
				v[c] += z[i] * d->truth->v_basis[i][c];
		}
	if ((d->structure & SINKS) && pos < STRUCTURED_SINKS)
		for (uint32_t c = 0; c < DIM; c++)
			v[c] *= 0.1f;
}

static void store(const float *from, uint16_t *to)
{
	for (uint32_t c = 0; c < DIM; c++)
		to[c] = vec_to_bf16(from[c]);
}

/* Flat to sharp over kv heads, a little over the heads of a group. */
static float sharpness(unsigned structure, uint32_t q_head)
{
	if (!(structure & TEMPERATURES))
		return 1;
	return exp2f(-1.0f + 2.0f * (float)q_head / (Q_HEADS - 1));
}

static void draw_queries(struct drawing *d, struct context *c, uint32_t layer,
			 uint32_t kv, uint32_t pos)
{
	for (uint32_t g = 0; g < Q_HEADS / KV_HEADS; g++) {
		uint32_t head = kv * (Q_HEADS / KV_HEADS) + g;
		struct aim aim = { .span = -1, .meant = d->agnostic,
				   .sharp = sharpness(d->structure, head) };
		size_t at = ((size_t)layer * Q_HEADS + head) * c->n_tokens + pos;

		draw_query(d, &aim, c->q + at * DIM, pos);
	}
}

/* The queries of one token behind the context, in every session. */
static void draw_tail(struct drawing *d, struct session *sessions, uint32_t n_tokens,
		      uint32_t layer, uint32_t kv, uint32_t row)
{
	int fourth = row >= STRUCTURED_ASKED + STRUCTURED_PROBES;

	for (int s = 0; s < STRUCTURED_SPANS; s++) {
		int span = fourth ? (s + 3) % STRUCTURED_SPANS : s;

		for (uint32_t g = 0; g < Q_HEADS / KV_HEADS; g++) {
			uint32_t head = kv * (Q_HEADS / KV_HEADS) + g;
			size_t at = ((size_t)layer * Q_HEADS + head) * TAIL + row;
			struct aim aim = {
				.span = span, .meant = d->asked[span],
				.answers = row >= STRUCTURED_ASKED,
				.sharp = sharpness(d->structure, head),
			};

			draw_query(d, &aim, sessions[s].q + at * DIM,
				   n_tokens + row);
		}
	}
}

static void draw_head(struct drawing *d, struct context *c, struct session *sessions,
		      uint32_t layer, uint32_t kv)
{
	float x[DIM];

	for (uint32_t pos = 0; pos < c->n_tokens; pos++) {
		step_local(d);
		draw_key(d, x, pos);
		store(x, context_row(c, c->k, layer, kv, pos));
		draw_value(d, x, pos);
		store(x, context_row(c, c->v, layer, kv, pos));
		draw_queries(d, c, layer, kv, pos);
	}
	for (uint32_t row = 0; row < TAIL; row++) {
		size_t at = ((size_t)layer * KV_HEADS + kv) * STRUCTURED_ASKED + row;

		step_local(d);
		draw_tail(d, sessions, c->n_tokens, layer, kv, row);
		if (row >= STRUCTURED_ASKED)
			continue;
		draw_key(d, x, c->n_tokens + row);
		for (int s = 0; s < STRUCTURED_SPANS; s++)
			store(x, sessions[s].k + at * DIM);
		draw_value(d, x, c->n_tokens + row);
		for (int s = 0; s < STRUCTURED_SPANS; s++)
			store(x, sessions[s].v + at * DIM);
	}
}

static void begin_head(struct drawing *d)
{
	draw_direction(d->random, d->hitter, PART);
	for (uint32_t i = 0; i < PART; i++)
		d->local[i] = random_normal(d->random);
	for (int s = 0; s < STRUCTURED_SPANS; s++) {
		draw_direction(d->random, d->begin[s], PART);
		draw_direction(d->random, d->rest[s], PART);
	}
	for (int i = 0; i < STRUCTURED_CLUSTERS; i++)
		draw_direction(d->random, d->cluster[i], PART);
	for (int i = 0; i < MEANT; i++) {
		d->agnostic[i] = random_below(d->random, STRUCTURED_CLUSTERS);
		for (int s = 0; s < STRUCTURED_SPANS; s++)
			d->asked[s][i] = random_below(d->random,
						      STRUCTURED_CLUSTERS);
	}
}

/* Where spans and hitters are, and which token is of which cluster. */
static void draw_truth(struct random *random, uint32_t n_tokens,
		       struct structured_truth *truth, uint8_t *is_hitter)
{
	uint32_t part = (n_tokens - STRUCTURED_SINKS) / STRUCTURED_SPANS;

	for (uint32_t i = 0; i < STRUCTURED_SPANS; i++) {
		uint32_t n = 8 + random_below(random, part < 48 ? part / 6 : 17);

		truth->span_n[i] = n;
		truth->span_first[i] = STRUCTURED_SINKS + i * part +
				       random_below(random, part - n);
	}
	for (uint32_t t = 0; t < n_tokens; t++) {
		truth->cluster[t] = (uint8_t)random_below(random,
							  STRUCTURED_CLUSTERS);
		is_hitter[t] = random_below(random, 100) == 0;
	}
	for (uint32_t i = 0; i < STRUCTURED_RANK; i++) {
		float *basis = truth->v_basis[i];

		draw_direction(random, basis, DIM);
		for (uint32_t j = 0; j < i; j++) {
			float dot = 0;

			for (uint32_t c = 0; c < DIM; c++)
				dot += basis[c] * truth->v_basis[j][c];
			for (uint32_t c = 0; c < DIM; c++)
				basis[c] -= dot * truth->v_basis[j][c];
		}
		normalise(basis, DIM);
	}
}

static int make_room(struct context *c, struct session *sessions, uint32_t n_tokens,
		     uint8_t **ret_cluster)
{
	int r = context_alloc(c, &structured_shape, n_tokens);

	for (int s = 0; r == 0 && s < STRUCTURED_SPANS; s++) {
		r = session_alloc(&sessions[s], &structured_shape, TAIL,
				  STRUCTURED_ASKED);
		sessions[s].turn[TURN_1] = (struct probes){
			.first = STRUCTURED_ASKED, .n = STRUCTURED_PROBES };
		sessions[s].turn[TURN_4] = (struct probes){
			.first = STRUCTURED_ASKED + STRUCTURED_PROBES,
			.n = STRUCTURED_PROBES };
	}
	/* Twice the room: the second half says who is a hitter. */
	*ret_cluster = calloc(2, n_tokens);
	return r == 0 && *ret_cluster == NULL ? -ENOMEM : r;
}

int structured_make(unsigned structure, uint32_t n_tokens, uint64_t seed,
		    const struct vec_ops *ops, struct context *ret,
		    struct session ret_session[STRUCTURED_SPANS],
		    struct structured_truth *ret_truth)
{
	struct random random = random_begin(seed, n_tokens);
	struct session sessions[STRUCTURED_SPANS] = { 0 };
	struct structured_truth truth = { 0 };
	struct drawing d = { .structure = structure, .random = &random,
			     .n_tokens = n_tokens, .truth = &truth };
	struct context c = { 0 };
	int r = make_room(&c, sessions, n_tokens, &truth.cluster);

	if (r == 0) {
		draw_truth(&random, n_tokens, &truth, truth.cluster + n_tokens);
		d.is_hitter = truth.cluster + n_tokens;
	}
	for (uint32_t i = 0; r == 0 && i < LAYERS * KV_HEADS; i++) {
		begin_head(&d);
		draw_head(&d, &c, sessions, i / KV_HEADS, i % KV_HEADS);
	}
	if (r == 0)
		r = context_sum(&c, ops);
	for (int s = 0; r == 0 && s < STRUCTURED_SPANS; s++)
		r = session_exact(&sessions[s], &c, ops);
	if (r == 0) {
		*ret = c;
		*ret_truth = truth;
		memcpy(ret_session, sessions, sizeof(sessions));
		return 0;
	}
	for (int s = 0; s < STRUCTURED_SPANS; s++)
		session_free(&sessions[s]);
	context_free(&c);
	free(truth.cluster);
	return r;
}
