/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.h - what the rows of `make bench` share.
 *
 * A row is measured five times (three with --quick); each repetition gives one
 * number, or a sample of latencies of which p50 and p99 are kept. Shown is the
 * median of the repetitions with their spread, beside the budget.
 */
#ifndef BENCH_H
#define BENCH_H

#include "tests/lib/folder.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_REPEATS_MAX	5
#define BENCH_ROWS_MAX		96

enum bench_sense { BENCH_INFO, BENCH_AT_MOST, BENCH_AT_LEAST };

struct bench_row {
	const char *key;		/* in the JSON object */
	const char *what, *unit;
	enum bench_sense sense;
	double	    budget;
	double	    value[BENCH_REPEATS_MAX];
	int	    n_values;
	char	    why[200];		/* why it could not be measured */
	bool	    failed;		/* and it must be */
};

/* A sample of latencies in nanoseconds; sorted by bench_percentile(). */
struct bench_sample {
	double *ns;
	size_t	n, size;
	bool	sorted;
};

struct bench {
	struct bench_row row[BENCH_ROWS_MAX];
	int	    n_rows;
	int	    repeats;
	bool	    quick;
	bool	    failed;		/* a row that must be measured was not */
	const char *bin_dir;		/* where ckvd and ckv are */
	const char *trace;
	char	    work_dir[FOLDER_BYTES];	/* private, removed at the end */
	char	   *replay_json;	/* from ckvd --replay, or NULL */
};

/* Add a value of one repetition to the row `key`, which must be in the table. */
void bench_add(struct bench *b, const char *key, double value);

/* Say why a row has no value. */
void bench_why(struct bench *b, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same for a row without which nobody may believe the others. */
void bench_fail(struct bench *b, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The median of what a row has, NaN if nothing. */
double bench_median(const struct bench *b, const char *key);

uint64_t now_ns(void);
void	 sample_init(struct bench_sample *s, size_t size);
void	 sample_free(struct bench_sample *s);
void	 sample_add(struct bench_sample *s, double ns);
double	 sample_percentile(struct bench_sample *s, double percent);

/* xorshift: keys and choices only need to be unpredictable to a cache. */
uint64_t random_next(uint64_t *state);
void	 random_fill(uint64_t *state, void *to, size_t bytes);

/* Sum of all bytes as 64-bit words: what a reader who uses them would touch. */
uint64_t sum_words(const void *from, size_t bytes);

/* Run this process, or `pid`, on one CPU; a negative CPU frees it again. */
void bench_bind(int pid, int cpu);
int  bench_cpus(void);

/* The index of chains that lookups use, here, in ckv and in LMDB. */
enum { CHAIN_BLOCKS = 8192, N_CHAINS = 128, N_ENTRIES = 1 << 20 };
const uint8_t *chain_keys(uint32_t chain);	/* CHAIN_BLOCKS keys of 32 bytes */

/* Memory of whole huge pages where there are any, untouched; free() it. */
void *bench_memory(size_t bytes);

/*
 * Run `ours` and `theirs` in turn, a few times, and give the best time of each:
 * what to divide by is measured in the same moments.
 */
void bench_in_turn(const struct bench *b, void (*ours)(void *),
		   void (*theirs)(void *), void *arg, double *ret_ours_ns,
		   double *ret_theirs_ns);

/* Read as fast as one core can; the sum, so that it has to. 64-byte aligned. */
uint64_t bench_read(const void *from, size_t bytes);

/*
 * One load that needs the one before it, in `bytes` of memory mapped as the daemon
 * maps an index: shared, with huge pages where the machine makes them.
 */
double bench_dependent_miss(size_t bytes);

/* Groups of rows; each runs once per repetition and adds what it measured. */
void bench_memcpy(struct bench *b);
void bench_socket(struct bench *b);
void bench_redis(struct bench *b);
void bench_lmdb(struct bench *b);
void bench_keys(struct bench *b);
void bench_index(struct bench *b);
void bench_places(struct bench *b);
void bench_ring(struct bench *b);
void bench_write(struct bench *b);
void bench_pool(struct bench *b);
void bench_idle(struct bench *b);
void bench_death(struct bench *b);
void bench_restart(struct bench *b);
void bench_neighbour(struct bench *b);
void bench_join(struct bench *b);
void bench_chunkkv(struct bench *b);
void bench_norms(struct bench *b);
void bench_gather(struct bench *b);
void bench_encode(struct bench *b);
void bench_replay(struct bench *b);

#endif
