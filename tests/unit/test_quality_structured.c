/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_quality_structured.c - in the contexts of the quality tables each structure lets a
 * method win where it should, and without it that method wins nothing. Every property
 * is looked at with its switch on, alone, and with none.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/check_main.h"
#include "tests/quality/report.h"

enum { TOKENS = 512, EIGHTH = 2, DIM = 64, ROOM = 1024 };

static struct model model;
static struct bench bench;
static uint8_t wanted[MAX_COMPARED];
static struct result result;
static struct result plain;	/* of contexts without structure */

static void want(const char *method)
{
	wanted[compared_at(method)] = 1;
}

/* The wanted methods over two contexts with that structure. */
static void compress(unsigned structure)
{
	static struct result one;
	struct err e;

	memset(&result, 0, sizeof(result));
	bench.wanted = wanted;
	for (uint32_t i = 0; i < 2; i++) {
		struct trial t = { .task = STRUCTURED, .n_tokens = TOKENS,
				   .n_sessions = STRUCTURED_SPANS, .number = i,
				   .structure = structure };
		struct cell *to = &result.cell[0][0][0][0];
		const struct cell *from = &one.cell[0][0][0][0];

		ck_assert_msg(trial_run(&bench, &t, &one, &e) == 0, "%s", e.text);
		for (size_t c = 0; c < sizeof(one.cell) / sizeof(*to); c++) {
			to[c].n += from[c].n;
			to[c].error += from[c].error;
			to[c].mass += from[c].mass;
		}
	}
}

/* The same without structure, for every method that a test here wants. */
static void compress_plain(void)
{
	result = plain;
}

static const struct cell *cell(const char *method, int aware)
{
	uint32_t m = compared_at(method);
	const struct cell *c;

	c = &result.cell[m][compared[m].select != NULL ? EIGHTH : SHARE_OWN]
			[compared[m].reads_queries ? aware : LATER][TURN_1];
	ck_assert_uint_eq(c->n, 2 * STRUCTURED_SPANS);
	return c;
}

static double mass(const char *method, int aware)
{
	return cell_mass(cell(method, aware));
}

static double error(const char *method, int aware)
{
	return cell_error(cell(method, aware));
}

static const char *const choosers[] = {
	"random", "streamingllm (first+last)", "chunkkv paper", "snapkv avg",
	"snapkv max", "h2o", "tova", "l2norm", "keydiff",
};

/* Once for all tests: each has a copy of its own, as it is a process of its own. */
static void start(void)
{
	struct err e;

	ck_assert_msg(model_load("tests/data/tiny-recall", &model, &e) == 0, "%s", e.text);
	ck_assert_int_eq(bench_open(&bench, &model, 1), 0);
	for (size_t i = 0; i < COUNT(choosers); i++)
		want(choosers[i]);
	want("chunkkv");
	want("int4");
	want("int4, keys per token");
	compress(0);
	plain = result;
}

static void stop(void)
{
	bench_close(&bench);
	model_free(&model);
}

static void setup(void)
{
	memset(wanted, 0, sizeof(wanted));
}

/* Nearly uniform attention: whatever chooses, keeps its share of the tokens of it. */
START_TEST(nobody_wins_without_structure)
{
	compress_plain();
	for (size_t i = 0; i < COUNT(choosers); i++) {
		ck_assert_double_gt(mass(choosers[i], LATER), 0.09);
		ck_assert_double_lt(mass(choosers[i], LATER), 0.16);
		ck_assert_double_lt(mass(choosers[i], IN_WINDOW), 0.16);
	}
}
END_TEST

/* Sinks: the first tokens hold most of the attention, and small keys find them. */
START_TEST(first_tokens_win_with_sinks)
{
	want("random");
	want("streamingllm (first+last)");
	want("l2norm");
	compress(SINKS);
	ck_assert_double_gt(mass("streamingllm (first+last)", LATER), 0.6);
	ck_assert_double_gt(mass("l2norm", LATER), 0.6);
	ck_assert_double_lt(mass("random", LATER), 0.4);
	ck_assert_double_lt(error("streamingllm (first+last)", LATER),
			    0.6 * error("random", LATER));
	compress_plain();
	ck_assert_double_gt(error("streamingllm (first+last)", LATER),
			    0.8 * error("random", LATER));
}
END_TEST

/* The local band: the newest tokens are those that are looked at. */
START_TEST(last_tokens_win_with_a_local_band)
{
	want("random");
	want("streamingllm (first+last)");
	compress(LOCAL);
	ck_assert_double_gt(mass("streamingllm (first+last)", LATER),
			    2 * mass("random", LATER));
	compress_plain();
	ck_assert_double_lt(mass("streamingllm (first+last)", LATER),
			    1.4 * mass("random", LATER));
}
END_TEST

/* Heavy hitters: what got much attention will; their large keys mislead L2-norm. */
START_TEST(sums_win_with_heavy_hitters)
{
	want("random");
	want("h2o");
	want("l2norm");
	compress(HITTERS);
	ck_assert_double_gt(mass("h2o", LATER), 2 * mass("random", LATER));
	ck_assert_double_lt(mass("l2norm", LATER), mass("random", LATER));
	compress_plain();
	ck_assert_double_lt(mass("h2o", LATER), 1.4 * mass("random", LATER));
}
END_TEST

/* Channel outliers: a scale for each channel of K, not for each token. */
START_TEST(keys_per_channel_win_with_outliers)
{
	want("int4");
	want("int4, keys per token");
	compress(OUTLIERS);
	ck_assert_double_gt(error("int4, keys per token", LATER), 2 * error("int4", LATER));
	compress_plain();
	ck_assert_double_lt(error("int4, keys per token", LATER),
			    1.2 * error("int4", LATER));
}
END_TEST

/* Spans: chunks bring along what a question does not point at. */
START_TEST(chunks_win_with_spans)
{
	want("chunkkv");
	want("snapkv avg");
	compress(SPANS);
	ck_assert_double_lt(error("chunkkv", IN_WINDOW),
			    0.8 * error("snapkv avg", IN_WINDOW));
	ck_assert_double_lt(error("chunkkv", IN_WINDOW), 0.8 * error("chunkkv", LATER));
	compress_plain();
	ck_assert_double_ge(error("chunkkv", IN_WINDOW), error("snapkv avg", IN_WINDOW));
}
END_TEST

/* Clusters: a question says which directions are meant, and only then one knows. */
START_TEST(questions_win_with_clusters)
{
	want("snapkv avg");
	compress(CLUSTERS);
	ck_assert_double_gt(mass("snapkv avg", IN_WINDOW), 2 * mass("snapkv avg", LATER));
	compress_plain();
	ck_assert_double_lt(mass("snapkv avg", IN_WINDOW),
			    1.3 * mass("snapkv avg", LATER));
}
END_TEST

/* ---- what no method here exploits, an oracle does ---------------------- */

static struct context context;
static struct session session[STRUCTURED_SPANS];
static struct structured_truth truth;

static void make(unsigned structure)
{
	ck_assert_int_eq(structured_make(structure, TOKENS, 7, bench.reader.eng.ops,
					 &context, session, &truth), 0);
}

static void unmake(void)
{
	for (int s = 0; s < STRUCTURED_SPANS; s++)
		session_free(&session[s]);
	context_free(&context);
	free(truth.cluster);
}

/* Attention that the probes of a layer's kv head give to each token, as a share. */
static void attention_of(uint32_t layer, uint32_t kv, float *score)
{
	const struct probes *p = &session[0].turn[TURN_1];
	uint32_t group = context.shape.n_q_heads / context.shape.n_kv_heads;
	size_t first = (size_t)layer * context.shape.n_q_heads + kv * group;

	memset(score, 0, TOKENS * sizeof(*score));
	for (size_t row = first * p->n; row < (first + group) * p->n; row++)
		for (uint32_t t = 0; t < TOKENS; t++)
			score[t] += p->p[row * TOKENS + t] / (float)(group * p->n);
}

static double best(const float *score, uint32_t n, uint32_t k)
{
	static uint32_t pos[ROOM];
	double sum = 0;

	ck_assert_int_eq(ckv_select_top(score, n, k, 0, pos, NULL), 0);
	for (uint32_t i = 0; i < k; i++)
		sum += (double)score[pos[i]];
	return sum;
}

/* What the two kv heads of a layer keep more when they share one budget. */
static double gain_of_sharing(unsigned structure)
{
	static float score[2 * TOKENS];
	double gain = 0;

	make(structure);
	for (uint32_t l = 0; l < context.shape.n_layers; l++) {
		attention_of(l, 0, score);
		attention_of(l, 1, score + TOKENS);
		gain += best(score, 2 * TOKENS, TOKENS / 4) -
			best(score, TOKENS, TOKENS / 8) -
			best(score + TOKENS, TOKENS, TOKENS / 8);
	}
	unmake();
	return gain / structured_shape.n_layers;
}

/* Temperatures: a flat head needs more tokens than a sharp one. */
START_TEST(ragged_budgets_win_with_temperatures)
{
	double without = gain_of_sharing(0), with = gain_of_sharing(TEMPERATURES);

	ck_assert_double_ge(without, 0);
	ck_assert_double_gt(with, 0.006);
	ck_assert_double_gt(with, 4 * without);
}
END_TEST

/* Attention on the tenth of the clusters that get most of it. */
static double best_clusters(unsigned structure)
{
	static float score[TOKENS], cluster[STRUCTURED_CLUSTERS];
	double sum = 0;

	make(structure);
	for (uint32_t l = 0; l < context.shape.n_layers; l++) {
		attention_of(l, 0, score);
		memset(cluster, 0, sizeof(cluster));
		for (uint32_t t = 0; t < TOKENS; t++)
			cluster[truth.cluster[t]] += score[t];
		sum += best(cluster, STRUCTURED_CLUSTERS, STRUCTURED_CLUSTERS / 10);
	}
	unmake();
	return sum / structured_shape.n_layers;
}

START_TEST(whole_clusters_win_with_clusters)
{
	ck_assert_double_gt(best_clusters(CLUSTERS), 0.45);
	ck_assert_double_lt(best_clusters(0), 0.3);
}
END_TEST

/* Of the values' energy the part that no basis vector of the truth carries. */
static double outside_basis(unsigned structure)
{
	double all = 0, in = 0;

	make(structure);
	for (uint32_t t = STRUCTURED_SINKS; t < TOKENS; t++) {
		const uint16_t *v = context_row(&context, context.v, 1, 1, t);

		for (int c = 0; c < DIM; c++)
			all += pow((double)vec_from_bf16(v[c]), 2);
		for (int i = 0; i < STRUCTURED_RANK; i++) {
			double dot = 0;

			for (int c = 0; c < DIM; c++)
				dot += (double)vec_from_bf16(v[c]) *
				       (double)truth.v_basis[i][c];
			in += dot * dot;
		}
	}
	unmake();
	return 1 - in / all;
}

START_TEST(few_directions_hold_low_rank_values)
{
	ck_assert_double_lt(outside_basis(LOW_RANK), 0.02);
	ck_assert_double_gt(outside_basis(0), 0.8);
}
END_TEST

/* ---- and it is the same every time ------------------------------------ */

static void run_small(uint32_t n_threads, const char *path)
{
	static struct run run;
	struct err e;

	run = (struct run){ .o = { .n_threads = n_threads, .seed = 5 }, .n_trials = 3 };
	for (uint32_t i = 0; i < 3; i++)
		run.trial[i] = (struct trial){ .task = i == 2 ? NEEDLE : STRUCTURED,
					       .n_tokens = TOKENS, .number = i,
					       .n_sessions = i == 2 ? 1 : 4,
					       .structure = ALL_STRUCTURE };
	ck_assert_msg(run_all_trials(&run, &model, wanted, &e) == 0, "%s", e.text);
	ck_assert_int_eq(report_json(&run, path), 0);
	run_free(&run);
}

static size_t slurp(const char *path, char *text, size_t room)
{
	FILE *in = fopen(path, "re");
	size_t n;

	ck_assert_ptr_nonnull(in);
	n = fread(text, 1, room, in);
	fclose(in);
	return n;
}

/* Two runs write the same rows, whatever thread did what. */
START_TEST(two_runs_are_identical)
{
	static char one[1 << 20], two[1 << 20];
	char dir[FOLDER_BYTES], path[FOLDER_BYTES + 16];
	size_t n;

	folder_make(dir);
	snprintf(path, sizeof(path), "%s/quality.json", dir);
	want("plain");
	want("chunkkv");
	want("random");
	want("keydiff + int4");
	run_small(1, path);
	n = slurp(path, one, sizeof(one));
	run_small(2, path);
	ck_assert_uint_eq(slurp(path, two, sizeof(two)), n);
	ck_assert_uint_gt(n, 1000);
	ck_assert_mem_eq(one, two, n);
}
END_TEST

CHECK_MAIN("quality_structured",
	CASE("structured", .start = start, .stop = stop, .setup = setup, .timeout = 200),
	TEST(nobody_wins_without_structure),
	TEST(first_tokens_win_with_sinks),
	TEST(last_tokens_win_with_a_local_band),
	TEST(sums_win_with_heavy_hitters),
	TEST(keys_per_channel_win_with_outliers),
	TEST(chunks_win_with_spans),
	TEST(questions_win_with_clusters),
	TEST(ragged_budgets_win_with_temperatures),
	TEST(whole_clusters_win_with_clusters),
	TEST(few_directions_hold_low_rank_values),
	TEST(two_runs_are_identical))
