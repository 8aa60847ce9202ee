/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_join.c - engines with one new text: the second waits for what the first is
 * computing, unless the first dies, gives up or stands still.
 *
 * Whoever computed what, the logits are the bits of an engine without a cache.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/session.h"
#include "client/examples/engine/stage.h"
#include "tests/lib/check_main.h"
#include "tests/lib/wait.h"

#define MODEL	"tests/data/tiny-recall"

enum { BLOCK = 16, N_IDS = 640, N_SHARED = N_IDS - BLOCK };	/* the last one is computed */

static struct stage stage;
static struct model model;
static struct options options;
static struct share share;		/* of this process */
static char text[8192];			/* of N_IDS words */
static uint32_t *ids;
static char alone[17];			/* sum of the logits without a cache */
static struct proc first, second;	/* engines */
static struct err err;

static void sum_logits(const struct session *s, char sum[17])
{
	snprintf(sum, 17, "%016" PRIx64, ckv_checksum(s->logits, model.cfg.n_vocab *
						      sizeof(*s->logits)));
}

/* As many words as the test needs, of the demo's other document. */
static void make_text(void)
{
	const char *from = stage_text(stage.second), *at = from;

	for (int i = 0; i < N_IDS; i++)
		at = strchr(at + 1, ' ');
	ck_assert_uint_lt((size_t)(at - from), sizeof(text));
	memcpy(text, from, (size_t)(at - from));
	ck_assert_int_eq(vocab_encode(&model.vocab, text, &ids, &err), N_IDS);
}

static void read_alone(void)
{
	struct session s;

	ck_assert_int_eq(session_open(&s, &model, &options, NULL, &err), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &err), 0);
	ck_assert_int_eq(session_read(&s, N_IDS, &err), 0);
	sum_logits(&s, alone);
	session_close(&s);
}

static void setup(void)
{
	ssize_t n = readlink("/proc/self/exe", stage.bin, sizeof(stage.bin) - 1);

	ck_assert_int_gt((int)n, 0);
	*strrchr(stage.bin, '/') = '\0';
	*strrchr(stage.bin, '/') = '\0';
	strcpy(stage.model, MODEL);
	stage.pool_mib = 32;
	ck_assert_msg(stage_open(&stage, &err) == 0, "%s", err.text);
	ck_assert_msg(model_load(MODEL, &model, &err) == 0, "%s", err.text);
	options = (struct options){ .model = MODEL, .block_tokens = BLOCK,
				    .dtype = VEC_F32, .socket = stage.socket,
				    .space = STAGE_SPACE };
	make_text();
	read_alone();
	ck_assert_msg(share_open(&share, &options, &model, &err) == 0, "%s",
		      err.text);
	first.out = second.out = -1;
}

static void teardown(void)
{
	proc_end(&first, SIGKILL);
	proc_end(&second, SIGKILL);
	share_close(&share);
	free(ids);
	model_free(&model);
	ck_assert_msg(stage_close(&stage, &err) == 0, "%s", err.text);
}

static void start(struct proc *p, const char *join, const char *then)
{
	struct args a = { 0 };
	const char *given[] = {
		stage.engine, "--json", "--model", MODEL, "--socket", stage.socket,
		"--space", STAGE_SPACE, "--words", "1", "--join", join, "--prompt",
		then != NULL ? "a" : text, then != NULL ? "--then" : NULL, then,
		"--pause", "8",
	};

	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		if (given[i] != NULL)
			args_add(&a, given[i]);
		else
			break;
	ck_assert_msg(proc_start("engine", &a, STDERR_FILENO, p, &err) == 0, "%s",
		      err.text);
}

static json_t *said(struct proc *p)
{
	json_t *line;

	ck_assert_msg(proc_read(p, &line, &err) == 0, "%s", err.text);
	return line;
}

/* An engine that is in the middle of the text: 8 blocks of it are written. */
static void start_first(void)
{
	start(&first, "0", text);
	json_decref(said(&first));
	json_decref(said(&first));
}

static long long number(const json_t *answer, const char *name)
{
	return json_integer_value(json_object_get(answer, name));
}

/* The engine's answer, which is right. Borrowed from *ret_said. */
static json_t *answer(struct proc *p, json_t **ret_said)
{
	json_t *a;

	*ret_said = said(p);
	a = json_array_get(json_object_get(*ret_said, "answers"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(a, "logits_sum")), alone);
	ck_assert_int_eq(number(a, "tokens"), N_IDS);
	return a;
}

static long long n_waits(void)
{
	json_t *status;
	long long n;

	ck_assert_msg(stage_status(&stage, &status, &err) == 0, "%s", err.text);
	n = number(json_object_get(json_array_get(json_object_get(json_object_get(
		status, "status"), "spaces"), 0), "stats"), "prefetch_waits");
	json_decref(status);
	return n;
}

/* Whoever is first: the text is computed once, and the last block twice. */
START_TEST(two_engines_compute_a_text_once)
{
	json_t *one, *two;

	start(&first, "60", NULL);
	start(&second, "60", NULL);
	ck_assert_int_eq(number(answer(&first, &one), "computed") +
			 number(answer(&second, &two), "computed"), N_IDS + BLOCK);
	json_decref(one);
	json_decref(two);
}
END_TEST

/* What is published while one waits is found, all of it, and pinned. */
START_TEST(a_text_that_is_being_read_is_waited_for)
{
	struct session s;
	json_t *line, *a;
	uint32_t n_done;

	ck_assert_int_eq(session_open(&s, &model, &options, &share, &err), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &err), 0);
	ck_assert_int_eq(session_read(&s, 20 * BLOCK, &err), 0);
	n_done = session_stored(&s);
	ck_assert_uint_eq(n_done, 20 * BLOCK);
	start(&second, "3600", NULL);
	WAIT_UNTIL(n_waits() == 1);
	ck_assert_int_eq(session_read(&s, N_IDS, &err), 0);
	ck_assert_int_eq(session_publish(&s, &err), 0);
	a = answer(&second, &line);
	ck_assert_int_eq(number(a, "found"), N_SHARED);
	ck_assert_int_eq(number(a, "joined"), N_SHARED - n_done);
	ck_assert_int_eq(number(a, "computed"), BLOCK);
	json_decref(line);
	session_close(&s);
}
END_TEST

/* Killed in the middle: what it published is found, the rest computed and stored. */
START_TEST(a_writer_that_is_killed_is_replaced)
{
	json_t *line, *a;

	start_first();
	start(&second, "3600", NULL);
	WAIT_UNTIL(n_waits() == 1);
	proc_end(&first, SIGKILL);
	a = answer(&second, &line);
	ck_assert_int_eq(number(a, "found"), 8 * BLOCK);
	ck_assert_int_eq(number(a, "joined"), 0);
	ck_assert_int_eq(number(a, "stored"), N_IDS - 8 * BLOCK);
	json_decref(line);
}
END_TEST

/* One that gives its pages back is replaced in the same way. */
START_TEST(a_writer_that_gives_up_is_replaced)
{
	struct session s;
	json_t *line;

	ck_assert_int_eq(session_open(&s, &model, &options, &share, &err), 0);
	ck_assert_int_eq(session_begin(&s, ids, N_IDS, 1, &err), 0);
	start(&second, "3600", NULL);
	WAIT_UNTIL(n_waits() == 1);
	session_close(&s);
	ck_assert_int_eq(number(answer(&second, &line), "stored"), N_IDS);
	json_decref(line);
}
END_TEST

/* Stopped: nobody knows for how long, so the second goes on after its limit. */
START_TEST(a_writer_that_is_stopped_is_not_waited_for_longer)
{
	json_t *line, *a;

	start_first();
	kill(first.pid, SIGSTOP);
	start(&second, "1", NULL);
	a = answer(&second, &line);
	ck_assert_int_eq(n_waits(), 1);
	ck_assert_int_eq(number(a, "found"), 8 * BLOCK);
	ck_assert_int_eq(number(a, "stored"), 0);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(a, "refused")),
				     "another engine"));
	json_decref(line);
}
END_TEST

START_TEST(who_does_not_want_to_wait_computes)
{
	json_t *line;

	start_first();
	start(&second, "0", NULL);
	ck_assert_int_eq(number(answer(&second, &line), "computed"),
			 N_IDS - 8 * BLOCK);
	ck_assert_int_eq(n_waits(), 0);
	json_decref(line);
}
END_TEST

CHECK_MAIN("engine_join",
	CASE("join", .setup = setup, .teardown = teardown, .timeout = 120),
	TEST(two_engines_compute_a_text_once),
	TEST(a_text_that_is_being_read_is_waited_for),
	TEST(a_writer_that_is_killed_is_replaced),
	TEST(a_writer_that_gives_up_is_replaced),
	TEST(a_writer_that_is_stopped_is_not_waited_for_longer),
	TEST(who_does_not_want_to_wait_computes))
