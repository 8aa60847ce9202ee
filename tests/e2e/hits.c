/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hits.c - hits SPACE BLOCKS [store | COMMAND...]: blocks of known bytes, stored or looked for.
 *
 * The blocks are chains of 64; each page begins with its block's key. `store` stores them.
 * With a command, which ends the daemon or starts it anew, the time is said from its
 * beginning to the first lookup of this process, attached all along, that missed, and to the
 * first one after that which found a whole chain with its bytes. Then, and without a command
 * at once, all blocks are looked for and what was found is said. Exit status 0: all were, and
 * none has other bytes.
 */
#include "client/ckv.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHAIN = 64, KEY = 32, GIVE_UP_S = 20 };

static struct ckv_lane *lane;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Keys that nothing but their number decides. */
static void make_keys(uint64_t chain, uint8_t keys[CHAIN * KEY])
{
	uint64_t x = (chain + 1) * 0x9e3779b97f4a7c15u;

	for (size_t i = 0; i < CHAIN * KEY; i += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(keys + i, &x, sizeof x);
	}
}

static bool store(uint64_t chain)
{
	uint8_t keys[CHAIN * KEY];
	struct ckv_page pages[CHAIN];

	make_keys(chain, keys);
	if (ckv_reserve(lane, NULL, keys, CHAIN, pages) != CHAIN)
		return false;
	for (size_t i = 0; i < CHAIN; i++)
		memcpy(pages[i].data, keys + i * KEY, KEY);
	return ckv_publish(lane, pages, CHAIN, 16, CKV_SUM, NULL, NULL, NULL) == CHAIN;
}

/* How many blocks of a chain are found; -1: one has other bytes. */
static long look(uint64_t chain)
{
	struct ckv_handle block[CHAIN];
	uint8_t keys[CHAIN * KEY];
	struct ckv_pin pin;
	bool wrong = false;
	long n;

	make_keys(chain, keys);
	n = ckv_lookup(lane, keys, CHAIN, 0, block, &pin);
	if (n < 0)
		return 0;
	for (long i = 0; i < n; i++)
		wrong = wrong || memcmp(block[i].data, keys + i * KEY, KEY) != 0;
	/* The page of a daemon that has died since may be another's. */
	wrong = wrong && ckv_pin_valid(lane, &pin) == 0;
	ckv_unpin(lane, &pin);
	return wrong ? -1 : n;
}

static int look_while(char **command)
{
	double from = now_ms(), missed = 0, hit = 0;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(command[0], command);
		_exit(127);
	}
	while (hit == 0) {
		long n = look(0);
		double ms = now_ms() - from;

		if (n < 0 || ms > GIVE_UP_S * 1e3)
			return fprintf(stderr, n < 0 ? "a block has other bytes\n" :
				       "no hit within 20 seconds: %s\n", ckv_why(NULL)), 1;
		if (n == 0 && missed == 0)
			missed = ms;
		if (n == CHAIN && missed > 0)
			hit = ms;
		usleep(100);
	}
	printf("first miss after %.1f ms, first hit after %.1f ms\n", missed, hit);
	waitpid(pid, NULL, 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct ckv_space *space;
	struct ckv *ckv = NULL;
	long n_chains, found = 0;

	if (argc < 3)
		return fprintf(stderr, "usage: hits SPACE BLOCKS [store | COMMAND...]\n"), 2;
	n_chains = atol(argv[2]) / CHAIN;
	if (ckv_open(NULL, "hits", &ckv) < 0 ||
	    ckv_attach(ckv, argv[1], NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &lane) < 0)
		return fprintf(stderr, "%s\n", ckv_why(ckv)), 1;
	if (argc == 4 && strcmp(argv[3], "store") == 0)
		for (long i = 0; i < n_chains; i++)
			if (!store((uint64_t)i))
				return fprintf(stderr, "not stored: %s\n", ckv_why(ckv)), 1;
	if (argc > 3 && strcmp(argv[3], "store") != 0 && look_while(argv + 3) != 0)
		return 1;
	for (long i = 0, n; i < n_chains; i++) {
		n = look((uint64_t)i);
		if (n < 0)
			return fprintf(stderr, "a block has other bytes\n"), 1;
		found += n;
	}
	printf("%ld of %ld blocks\n", found, n_chains * CHAIN);
	ckv_close(ckv);
	return found == n_chains * CHAIN ? 0 : 1;
}
