/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select_any.h - inside ckv_select(): what the methods' files share.
 *
 * Every method has one file and one struct select_method. ckv_select() checks
 * what all have in common, gives the method its budget, and lets the tokens
 * that are always kept displace the worst of what the method chose.
 */
#ifndef CKV_KERNELS_SELECT_ANY_H
#define CKV_KERNELS_SELECT_ANY_H

#include "kernels/ckv_kernels.h"

/* One layer to select in. */
struct select_job {
	const struct ckv_selection *s;
	const struct ckv_layer *in;
	uint32_t n_tokens;	/* T */
	uint32_t n;		/* the budget, 1 .. T; below T unless `always_runs` */
	void *scratch;		/* as large as the method asked for, aligned */
};

/* What a method chose, and in which order tokens leave for those that are always kept. */
struct select_choice {
	struct ckv_kept kept;
	/*
	 * Scores [n_sets][stride] of tokens [0, n_scored): the worst go first,
	 * of equal ones the newest. After them tokens from n_scored on, the
	 * oldest first: a window, or all of them where nothing was scored.
	 */
	const float *score;
	size_t stride;
	uint32_t n_scored;
};

struct select_method {
	unsigned needs;		/* enum ckv_need */
	int always_runs;	/* even where the budget is every token */
	int one_set;		/* for all kv heads */
	/* 0, or -EINVAL. NULL: the method has no parameters to check. */
	int (*check)(const struct ckv_selection *s);
	/* Tokens to keep of n_tokens; the caller makes 0 a 1, and n_tokens of more. */
	uint32_t (*budget)(const struct ckv_selection *s, uint32_t layer,
			   uint32_t n_layers, uint32_t n_tokens);
	size_t (*scratch_bytes)(const struct ckv_selection *s,
				const struct ckv_layer *in);
	/* NULL: as many as the largest budget, for each set. */
	size_t (*max_kept)(const struct ckv_selection *s,
			   const struct ckv_layer *in);
	/* Positions to pos. 0, or -errno as ckv_select(). */
	int (*choose)(const struct select_job *job, uint32_t *pos,
		      struct select_choice *ret_choice,
		      struct ckv_fault *ret_fault);
};

extern const struct select_method select_chunkkv, select_snapkv,
	select_pyramidkv, select_l2norm, select_keydiff, select_tova, select_h2o,
	select_streamingllm, select_random;

/* ------------------------------------------------------------- budgets */

/* keep_num / keep_den or n_keep of n_tokens: in kvpress's way, down, up. */
uint32_t budget_kvpress(const struct ckv_selection *s, uint32_t n_tokens);
uint32_t budget_floor(const struct ckv_selection *s, uint32_t n_tokens);
uint32_t budget_ceil(const struct ckv_selection *s, uint32_t n_tokens);

/* The fraction to remove with which int(n_all * (1 - removed)) is n. */
double removed_keeping(uint32_t n_all, uint32_t n);

/* What l2norm keeps of its block [from, to). */
uint32_t l2norm_block_share(const struct ckv_selection *s, uint32_t from,
			    uint32_t to, uint32_t n_tokens);

/* -EINVAL unless window and kernel are those of SnapKV's scores. */
int window_params_check(const struct ckv_selection *s);

/* SnapKV that keeps just n of n_tokens, with the selection's parameters. */
struct ckv_snapkv snapkv_keeping(const struct ckv_selection *s,
				 uint32_t n_tokens, uint32_t n);
/* ChunkKV whose budget is n of n_tokens, likewise. */
struct ckv_chunkkv chunkkv_keeping(const struct ckv_selection *s,
				   uint32_t n_tokens, uint32_t n);
int snapkv_choose(const struct select_job *job, const struct ckv_snapkv *m,
		  uint32_t *pos, struct select_choice *ret_choice,
		  struct ckv_fault *ret_fault);
size_t snapkv_scratch_bytes(const struct ckv_selection *s,
			    const struct ckv_layer *in);

/* ------------------------------------------------------- inputs, scores */

/* 0; -ENODATA if the layer lacks keys, or queries; -EINVAL if not w of them. */
int need_keys(const struct ckv_layer *in);
int need_queries(const struct ckv_layer *in, uint32_t window);

struct ckv_window window_of(const struct ckv_layer *in);

/* Bytes of n numbers of 4 bytes, up to the next multiple of the alignment. */
size_t words_bytes(size_t n);

/* A score by which `rank` comes before every larger one; rank < 2^30. */
float score_of_rank(uint32_t rank);

/* The best n of job's tokens by score[n_sets][T] into pos. */
int choose_best(const struct select_job *job, uint32_t n_sets,
		const float *score, uint32_t *pos,
		struct select_choice *ret_choice);

/* The newest n of job's tokens, n_sets times. */
int choose_newest(const struct select_job *job, uint32_t n_sets, uint32_t *pos,
		  struct select_choice *ret_choice);

/* -------------------------------------------------- what is always kept */

struct always_set {		/* disjoint ranges [from, to), ascending */
	uint32_t n_tokens;	/* in all of them */
	uint32_t n_ranges;
	struct { uint32_t from, to; } range[CKV_ALWAYS_RANGES + 2];
};

/* 0, or -EINVAL: too many ranges, or one that ends before it begins. */
int always_check(const struct ckv_always *a);
struct always_set always_of(const struct ckv_always *a, uint32_t n_tokens);

/*
 * Let the set take the place of the worst of pos[0..n), which is set number
 * `index` of the choice. scratch: 2 n words. Returns how many tokens of the set
 * had no place: the newest n of it are kept.
 */
uint32_t always_merge(const struct always_set *set,
		      const struct select_choice *choice, uint32_t index,
		      void *scratch, uint32_t *pos);

#endif
