/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_redis.c - exists, get and set of 2 MiB through redis-server over a UNIX
 * socket, with hiredis.
 *
 * Server and client share one core, which is Redis's fastest placement for a
 * single client on a small machine: the socket hands over without a wake-up of
 * another core.
 */
#include "tests/bench/bench.h"

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { VALUE_BYTES = 2 << 20, N_VALUES = 64 };

static void why_all(struct bench *b, const char *why)
{
	bench_why(b, "redis_exists_ns_p50", "%s", why);
	bench_why(b, "redis_get_2mib_ns_p50", "%s", why);
	bench_why(b, "redis_set_2mib_ns_p50", "%s", why);
}

static pid_t start_server(const char *socket_path)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	bench_bind(0, 0);
	if (freopen("/dev/null", "w", stdout) == NULL)
		_exit(127);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
	       socket_path, "--save", "", "--appendonly", "no",
	       "--daemonize", "no", (char *)NULL);
	_exit(127);
}

static redisContext *connect_server(const char *socket_path)
{
	for (int i = 0; i < 100; i++) {
		redisContext *c = redisConnectUnix(socket_path);

		if (c != NULL && c->err == 0)
			return c;
		redisFree(c);
		usleep(50000);
	}
	return NULL;
}

static bool call(redisReply *reply)
{
	bool good = reply != NULL && reply->type != REDIS_REPLY_ERROR;

	freeReplyObject(reply);
	return good;
}

static bool measure_sets(struct bench *b, redisContext *c, const char *value)
{
	struct bench_sample s;
	bool good = true;

	sample_init(&s, b->quick ? 100 : 400);
	for (uint32_t i = 0; good && i < s.size; i++) {
		uint32_t key = i % N_VALUES;
		uint64_t t = now_ns();

		good = call(redisCommand(c, "SET big%b %b", &key, sizeof key,
					 value, (size_t)VALUE_BYTES));
		sample_add(&s, (double)(now_ns() - t));
	}
	if (good)
		bench_add(b, "redis_set_2mib_ns_p50", sample_percentile(&s, 50));
	sample_free(&s);
	return good;
}

static bool measure_gets(struct bench *b, redisContext *c, uint64_t want)
{
	struct bench_sample s;
	bool good = true;

	sample_init(&s, b->quick ? 100 : 400);
	for (uint32_t i = 0; good && i < s.size; i++) {
		uint32_t key = i % N_VALUES;
		uint64_t t = now_ns();
		redisReply *reply = redisCommand(c, "GET big%b", &key, sizeof key);

		good = reply != NULL && reply->type == REDIS_REPLY_STRING &&
		       reply->len == VALUE_BYTES &&
		       sum_words(reply->str, VALUE_BYTES) == want;
		sample_add(&s, (double)(now_ns() - t));
		freeReplyObject(reply);
	}
	if (good)
		bench_add(b, "redis_get_2mib_ns_p50", sample_percentile(&s, 50));
	sample_free(&s);
	return good;
}

static bool measure_exists(struct bench *b, redisContext *c)
{
	struct bench_sample s;
	bool good = true;

	for (uint32_t i = 0; i < 10000 && good; i++)
		good = call(redisCommand(c, "SET %b x", chain_keys(0) + i * 32,
					 (size_t)32));
	sample_init(&s, b->quick ? 5000 : 20000);
	for (uint32_t i = 0; good && i < s.size; i++) {
		uint64_t t = now_ns();

		good = call(redisCommand(c, "EXISTS %b",
					 chain_keys(0) + i % 10000 * 32,
					 (size_t)32));
		sample_add(&s, (double)(now_ns() - t));
	}
	if (good)
		bench_add(b, "redis_exists_ns_p50", sample_percentile(&s, 50));
	sample_free(&s);
	return good;
}

void bench_redis(struct bench *b)
{
	uint64_t state = 1234567;
	redisContext *c;
	char path[128];
	char *value;
	pid_t pid;

	snprintf(path, sizeof path, "%s/redis.sock", b->work_dir);
	value = malloc(VALUE_BYTES);
	pid = start_server(path);
	c = connect_server(path);
	if (c == NULL || value == NULL) {
		why_all(b, "redis-server did not start; is it installed?");
	} else {
		bench_bind(0, 0);
		random_fill(&state, value, VALUE_BYTES);
		if (!measure_exists(b, c) || !measure_sets(b, c, value) ||
		    !measure_gets(b, c, sum_words(value, VALUE_BYTES)))
			why_all(b, "a command failed");
		bench_bind(0, -1);
	}
	redisFree(c);
	free(value);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(path);
}
