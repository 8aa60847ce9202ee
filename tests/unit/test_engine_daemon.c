/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_daemon.c - the engine with a real daemon: found pages, damaged
 * pages, a daemon that is killed, views from one connection to another.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/examples/engine/expect.h"
#include "client/examples/engine/session.h"
#include "client/examples/engine/stage.h"
#include "client/examples/engine/views.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"

#define MODEL	"tests/data/tiny-recall"

enum { BLOCK = 16, N_IDS = 200 };

static struct stage stage;
static struct model model;
static struct options options;
static struct share share;
static uint32_t ids[N_IDS];
static float alone[512];		/* logits without a cache */
static struct err err;

/* Read all of ids; the caller closes the session. */
static void read_text(struct session *s, struct share *with)
{
	ck_assert_int_eq(session_open(s, &model, &options, with, &err), 0);
	ck_assert_int_eq(session_begin(s, ids, N_IDS, 1, &err), 0);
	ck_assert_int_eq(session_read(s, N_IDS, &err), 0);
	ck_assert_int_eq(session_publish(s, &err), 0);
}

static void assert_alone(const struct session *s)
{
	ck_assert_mem_eq(s->logits, alone, sizeof(alone));
}

static void setup(void)
{
	struct session s;
	ssize_t n = readlink("/proc/self/exe", stage.bin,
			     sizeof(stage.bin) - 1);

	ck_assert_int_gt((int)n, 0);
	*strrchr(stage.bin, '/') = '\0';
	*strrchr(stage.bin, '/') = '\0';
	strcpy(stage.model, MODEL);
	stage.pool_mib = 16;
	ck_assert_msg(stage_open(&stage, &err) == 0, "%s", err.text);
	ck_assert_msg(model_load(MODEL, &model, &err) == 0, "%s", err.text);
	options = (struct options){ .model = MODEL, .block_tokens = BLOCK,
				    .dtype = VEC_F32, .window = 32,
				    .socket = stage.socket,
				    .space = STAGE_SPACE };
	for (uint32_t i = 0; i < N_IDS; i++)
		ids[i] = 1 + i * i % 500;
	read_text(&s, NULL);
	memcpy(alone, s.logits, sizeof(alone));
	session_close(&s);
	ck_assert_msg(share_open(&share, &options, &model, &err) == 0, "%s",
		      err.text);
}

static void teardown(void)
{
	share_close(&share);
	model_free(&model);
	ck_assert_msg(stage_close(&stage, &err) == 0, "%s", err.text);
}

static void write_story(const char *folder, const char *name, const char *last)
{
	char path[FOLDER_BYTES + 16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	unlink(path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "{\"document\": \"a\", \"questions\": ["
		"{\"question\": \"a\", \"answer\": \"a\"},"
		"{\"question\": \"a\", \"answer\": \"a\"},"
		"{\"question\": \"a\", \"answer\": \"a\"}, %s]}", last);
	ck_assert_int_eq(fclose(f), 0);
}

/* A story may have fewer questions than are asked for, but none without its answer. */
START_TEST(stories_are_judged)
{
	struct stage other = { .n_questions = 16 };
	char command[600];

	strcpy(other.bin, stage.bin);
	folder_make(other.model);
	snprintf(command, sizeof(command), "cp " MODEL "/config.json %s", other.model);
	ck_assert_int_eq(system(command), 0);
	write_story(other.model, "story-1.json",
		    "{\"question\": \"a\", \"answer\": \"a\"}");
	write_story(other.model, "story-2.json", "{\"question\": \"a\"}");
	ck_assert_int_eq(stage_open(&other, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "story-2.json: expected a document"));
	write_story(other.model, "story-2.json",
		    "{\"question\": \"a\", \"answer\": \"a\"}");
	ck_assert_msg(stage_open(&other, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(other.n_questions, 4);
	ck_assert_int_eq(stage_close(&other, &err), 0);
}
END_TEST

/* What one connection publishes another finds, and gets the same bits. */
START_TEST(blocks_go_from_one_to_another)
{
	struct share other;
	struct session s;

	read_text(&s, &share);
	ck_assert_uint_eq(s.n_found, 0);
	assert_alone(&s);
	session_close(&s);
	ck_assert_int_eq(share_open(&other, &options, &model, &err), 0);
	read_text(&s, &other);
	ck_assert_uint_eq(s.n_found, N_IDS / BLOCK * BLOCK);
	assert_alone(&s);
	session_close(&s);
	share_close(&other);
}
END_TEST

/* A flipped byte of a stored page is seen in the logits; --verify misses it. */
START_TEST(damage_is_seen_and_verify_misses_it)
{
	struct session writer, s;

	read_text(&writer, &share);
	ck_assert_uint_gt(writer.claim.n_lent, 4);
	((uint8_t *)writer.claim.lent[4].data)[1003] ^= 0x40;
	read_text(&s, &share);
	ck_assert_uint_eq(s.n_found, N_IDS / BLOCK * BLOCK);
	ck_assert(memcmp(s.logits, alone, sizeof(alone)) != 0);
	session_close(&s);
	share.verify = true;
	read_text(&s, &share);
	ck_assert_uint_eq(s.n_found, 4 * BLOCK);
	assert_alone(&s);
	session_close(&s);
	session_close(&writer);
}
END_TEST

/* A checkpoint of the same name and shape, with other weights, never answers from this one's. */
START_TEST(other_weights_are_refused)
{
	struct model other = model;
	static const uint8_t zeros[IDENTITY_BYTES];
	struct share two;
	struct session s;

	ck_assert_mem_ne(model.identity, zeros, IDENTITY_BYTES);
	ck_assert_mem_eq(share.info.model.weights, model.identity, IDENTITY_BYTES);
	read_text(&s, &share);
	session_close(&s);
	other.identity[31] ^= 1;
	ck_assert_int_eq(share_open(&two, &options, &other, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, ": weights are "));
	ck_assert_ptr_nonnull(strstr(err.text, "; use another space"));
}
END_TEST

/* A daemon that is killed for good while a text is being read costs no bit. */
START_TEST(killed_daemon_costs_no_bit)
{
	pid_t daemon = stage_daemon(&stage);
	struct session s;

	read_text(&s, &share);
	session_close(&s);
	ck_assert_int_eq(session_open(&s, &model, &options, &share, &err), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &err), 0);
	ck_assert_uint_gt(s.n_found, 0);
	proc_end(&stage.keeper, SIGKILL);
	ck_assert_int_eq(kill(daemon, SIGKILL), 0);
	WAIT_UNTIL(stage_daemon(&stage) != daemon);
	ck_assert_int_eq(session_read(&s, N_IDS, &err), 0);
	ck_assert_int_eq(session_publish(&s, &err), 0);
	assert_alone(&s);
	session_close(&s);
	read_text(&s, &share);
	ck_assert_uint_eq(s.n_found, 0);
	assert_alone(&s);
	session_close(&s);
}
END_TEST

/* A space of another shape is refused by the name of the difference. */
START_TEST(other_geometry_is_named)
{
	struct options other = options;
	struct share none;

	other.block_tokens = 32;
	ck_assert_int_eq(share_open(&none, &other, &model, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "block_tokens") != NULL &&
		      strstr(err.text, "16") && strstr(err.text, "32"),
		      "\"%s\"", err.text);
	other = options;
	other.space = "elsewhere";
	ck_assert_int_eq(share_open(&none, &other, &model, &err), -ENODEV);
	ck_assert_ptr_nonnull(strstr(err.text, "elsewhere"));
}
END_TEST

/* Make the view of options, read it back in place of the pages: how far is the answer? */
static double answer_by_view(struct view_made *ret_made)
{
	struct session s;
	struct view v;
	double diff;

	options.n_keeps = 1;
	ck_assert_int_eq(session_open(&s, &model, &options, &share, &err), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, view_own_tokens(&s,
			 &options, N_IDS), &err), 0);
	ck_assert_msg(view_make(&s, &options, ret_made, &err) == 0, "%s",
		      err.text);
	assert_alone(&s);
	ck_assert_msg(view_open(&share, &options, ids, N_IDS, UINT32_MAX, &v,
				&err) == 0, "%s", err.text);
	ck_assert_int_eq(session_begin_view(&s, ids, N_IDS, v.runs,
					    N_IDS / BLOCK * BLOCK, &err), 0);
	ck_assert_int_eq(session_read(&s, N_IDS, &err), 0);
	diff = expect_diff(s.logits, alone, 512);
	session_close(&s);
	view_close(&share, &v);
	return diff;
}

/* A view that keeps everything answers as the pages do, to rounding. */
START_TEST(whole_view_is_near)
{
	struct view_made made;

	options.keep[0] = "1/1";
	ck_assert(answer_by_view(&made) < 1e-4);
	ck_assert_uint_eq(made.n_kept, N_IDS / BLOCK * BLOCK);
}
END_TEST

static const struct {
	const char *text;
	double least, most;	/* distance of the logits */
} method[] = {
	{ "plain", 0, 1e-4 }, { "bf16", 1e-4, 0.05 }, { "int8", 1e-3, 0.2 },
	{ "fp8(scale=head)", 0.01, 0.8 }, { "kivi(bits=4, group=32)", 0.05, 2 },
	{ "snapkv(keep=1/2) + kivi(bits=4, full=16)", 0.5, 20 },
};

/* Encoded rows are decoded before they are read: the finer, the nearer. */
START_TEST(a_view_of_any_method_is_read)
{
	struct view_made made;
	double diff;

	options.keep[0] = method[_i].text;
	options.keep_method[0] = true;
	diff = answer_by_view(&made);
	ck_assert_msg(diff >= method[_i].least && diff <= method[_i].most,
		      "%s: %g", method[_i].text, diff);
}
END_TEST

/* First and last tokens: as many as asked for, and still an answer. */
START_TEST(first_and_last_are_read)
{
	struct kv_run *runs;
	struct session s;
	void *rows;

	read_text(&s, &share);
	session_close(&s);
	ck_assert_int_eq(session_open(&s, &model, &options, &share, &err), 0);
	ck_assert_int_eq(view_first_last(&s, ids, N_IDS - 1, 3, &runs, &rows,
					 &err), -EINVAL);
	ck_assert_int_eq(view_first_last(&s, ids, N_IDS - 1, 192, &runs, &rows,
					 &err), 0);
	ck_assert_uint_eq(runs[0].n, 192);
	ck_assert_int_eq(session_begin_view(&s, ids, N_IDS, runs, 192, &err),
			 0);
	ck_assert_int_eq(session_read(&s, N_IDS, &err), 0);
	assert_alone(&s);
	session_close(&s);
	free(rows);
}
END_TEST

static int n_waits;

static void count_wait(void)
{
	n_waits++;
}

/* Whoever waits for a program that says nothing is told so, and gets its result. */
START_TEST(waiting_is_shown)
{
	struct args a = { 0 };
	json_t *said;

	args_add(&a, "/bin/sh");
	args_add(&a, "-c");
	args_add(&a, "sleep 2.5; echo 7");
	proc_on_wait = count_wait;
	ck_assert_msg(proc_ask("sh", &a, STDERR_FILENO, &said, &err) == 0, "%s",
		      err.text);
	ck_assert_int_eq((int)json_integer_value(said), 7);
	ck_assert_int_ge(n_waits, 1);
	json_decref(said);
}
END_TEST

CHECK_MAIN("engine_daemon",
	CASE("daemon", .setup = setup, .teardown = teardown),
	TEST(blocks_go_from_one_to_another),
	TEST(stories_are_judged),
	TEST(other_weights_are_refused),
	TEST(damage_is_seen_and_verify_misses_it),
	TEST(killed_daemon_costs_no_bit),
	TEST(other_geometry_is_named),
	TEST(whole_view_is_near),
	EACH(a_view_of_any_method_is_read, method),
	TEST(first_and_last_are_read),
	TEST(waiting_is_shown))
