/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_lmdb.c - the same chains in LMDB: 1 M keys of 32 bytes, opened read-only
 * by another process than the one that wrote them.
 *
 * One read transaction is kept open, which is LMDB's fastest way to read; it
 * pins nothing by itself.
 */
#include "tests/bench/bench.h"

#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int open_env(const char *dir, unsigned flags, MDB_env **ret_env)
{
	MDB_env *env;
	int r;

	r = mdb_env_create(&env);
	if (r != 0)
		return r;
	mdb_env_set_mapsize(env, (size_t)1 << 30);
	r = mdb_env_open(env, dir, flags, 0600);
	if (r != 0) {
		mdb_env_close(env);
		return r;
	}
	*ret_env = env;
	return 0;
}

static int fill(const char *dir)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	int r;

	r = open_env(dir, MDB_NOSYNC | MDB_WRITEMAP, &env);
	if (r != 0)
		return r;
	r = mdb_txn_begin(env, NULL, 0, &txn);
	if (r == 0)
		r = mdb_dbi_open(txn, NULL, 0, &dbi);
	for (uint32_t i = 0; r == 0 && i < N_ENTRIES; i++) {
		MDB_val key = { 32, (void *)(uintptr_t)(chain_keys(0) + (size_t)i * 32) };
		MDB_val value = { sizeof i, &i };

		r = mdb_put(txn, dbi, &key, &value, 0);
	}
	if (r == 0)
		r = mdb_txn_commit(txn);
	mdb_env_close(env);
	return r;
}

static bool present(MDB_txn *txn, MDB_dbi dbi, const uint8_t *bytes)
{
	MDB_val key = { 32, (void *)(uintptr_t)bytes }, value;

	return mdb_get(txn, dbi, &key, &value) == 0;
}

static size_t longest_prefix(MDB_txn *txn, MDB_dbi dbi, const uint8_t *keys)
{
	size_t low = 0, high = CHAIN_BLOCKS;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (present(txn, dbi, keys + middle * 32))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The reader's process: two medians into the pipe. */
static void read_all(const char *dir, size_t n, int out)
{
	static uint8_t asked[CHAIN_BLOCKS * 32];
	struct bench_sample get, prefix;
	uint64_t state = 88172645463325252u;
	double medians[2];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	if (open_env(dir, MDB_RDONLY, &env) != 0 ||
	    mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 ||
	    mdb_dbi_open(txn, NULL, 0, &dbi) != 0)
		_exit(1);
	sample_init(&get, n);
	for (size_t i = 0; i < n; i++) {
		uint8_t key[32];
		uint64_t t;
		bool there;

		memcpy(key, chain_keys(0) + random_next(&state) % N_ENTRIES * 32,
		       sizeof key);
		t = now_ns();
		there = present(txn, dbi, key);
		sample_add(&get, (double)(now_ns() - t));
		if (!there)
			_exit(1);
	}
	sample_init(&prefix, n / 50);
	for (size_t i = 0; i < n / 50; i++) {
		size_t length = random_next(&state) % (CHAIN_BLOCKS + 1);
		uint64_t t;

		memcpy(asked, chain_keys((uint32_t)random_next(&state)), sizeof asked);
		random_fill(&state, asked + length * 32, sizeof asked - length * 32);
		t = now_ns();
		if (longest_prefix(txn, dbi, asked) != length)
			_exit(1);
		sample_add(&prefix, (double)(now_ns() - t));
	}
	medians[0] = sample_percentile(&get, 50);
	medians[1] = sample_percentile(&prefix, 50);
	_exit(write(out, medians, sizeof medians) == sizeof medians ? 0 : 1);
}

void bench_lmdb(struct bench *b)
{
	char dir[128];
	double medians[2];
	int fd[2], r;
	pid_t pid;

	snprintf(dir, sizeof dir, "%s/lmdb", b->work_dir);
	if (mkdir(dir, 0700) == 0) {
		r = fill(dir);
		if (r != 0) {
			bench_why(b, "lmdb_lookup_ns_p50", "%s", mdb_strerror(r));
			bench_why(b, "lmdb_prefix_ns_p50", "%s", mdb_strerror(r));
			return;
		}
	}
	chain_keys(0);
	fflush(NULL);
	if (pipe(fd) < 0)
		return;
	pid = fork();
	if (pid == 0)
		read_all(dir, b->quick ? 50000 : 200000, fd[1]);
	close(fd[1]);
	if (read(fd[0], medians, sizeof medians) == sizeof medians) {
		bench_add(b, "lmdb_lookup_ns_p50", medians[0]);
		bench_add(b, "lmdb_prefix_ns_p50", medians[1]);
	} else {
		bench_why(b, "lmdb_lookup_ns_p50", "the reader failed");
		bench_why(b, "lmdb_prefix_ns_p50", "the reader failed");
	}
	close(fd[0]);
	waitpid(pid, NULL, 0);
}
