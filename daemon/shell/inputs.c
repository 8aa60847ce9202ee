/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c - see inputs.h. */
#include "daemon/shell/inputs.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

bool inputs_elem(uint32_t dtype, enum ckv_elem *ret_elem)
{
	switch (dtype) {
	case CKV_DTYPE_F32:
		*ret_elem = CKV_ELEM_F32;
		return true;
	case CKV_DTYPE_F16:
		*ret_elem = CKV_ELEM_F16;
		return true;
	case CKV_DTYPE_BF16:
		*ret_elem = CKV_ELEM_BF16;
		return true;
	default:
		return false;
	}
}

static bool heads_ok(uint32_t n, uint32_t n_kv_heads)
{
	return n > 0 && n <= CKV_KERNEL_MAX_HEADS && n % n_kv_heads == 0;
}

static void judge_queries(const struct ckv_compress_arg *arg,
			  const struct inputs_want *want,
			  char why[INPUTS_WHY_BYTES])
{
	uint32_t n_kv_heads = want->geometry->n_kv_heads;
	enum ckv_elem elem;

	if (want->needs & CKV_NEED_QUERIES && arg->n_window != want->window)
		snprintf(why, INPUTS_WHY_BYTES, "queries of %u tokens came; "
			 "expected window=%u", arg->n_window, want->window);
	else if (arg->n_window > CKV_KERNEL_MAX_WINDOW)
		snprintf(why, INPUTS_WHY_BYTES, "queries of %u tokens came; at most "
			 "%u are taken", arg->n_window, CKV_KERNEL_MAX_WINDOW);
	else if (!inputs_elem(arg->query_dtype, &elem))
		snprintf(why, INPUTS_WHY_BYTES, "query type %u; expected f32, f16 "
			 "or bf16", arg->query_dtype);
	else if (!heads_ok(arg->n_query_heads, n_kv_heads))
		snprintf(why, INPUTS_WHY_BYTES, "%u query heads; expected a "
			 "multiple of %u, at most %u", arg->n_query_heads,
			 n_kv_heads, CKV_KERNEL_MAX_HEADS);
}

static void judge_sums(const struct ckv_compress_arg *arg,
		       const struct inputs_want *want, char why[INPUTS_WHY_BYTES])
{
	uint32_t n_kv_heads = want->geometry->n_kv_heads;

	if (arg->n_sum_heads != n_kv_heads &&
	    (arg->n_window != 0 ? arg->n_sum_heads != arg->n_query_heads :
	     !heads_ok(arg->n_sum_heads, n_kv_heads)))
		snprintf(why, INPUTS_WHY_BYTES, "column sums of %u heads; expected "
			 "those of %u kv heads or of all query heads",
			 arg->n_sum_heads, n_kv_heads);
	else if (arg->n_sum_tokens != want->n_tokens)
		snprintf(why, INPUTS_WHY_BYTES, "column sums of %u tokens came; the "
			 "chain has %u", arg->n_sum_tokens, want->n_tokens);
}

/* Fill part[]; a part that is not read gets 0 bytes. Returns where the last one ends. */
static uint64_t lay_out(const struct ckv_compress_arg *arg,
			const struct inputs_want *want, struct inputs *in)
{
	uint64_t rows = (uint64_t)want->geometry->n_layers *
			arg->n_query_heads * arg->n_window;
	const uint64_t bytes[N_INPUT_PARTS] = {
		[INPUT_QUERIES] = arg->n_window == 0 ? 0 :
			rows * want->geometry->dim_k *
			ckv_dtype_bytes(arg->query_dtype),
		[INPUT_LSE] = arg->inputs & CKV_VIEW_LSE ?
			rows * sizeof(float) : 0,
		[INPUT_SUMS] = (uint64_t)want->geometry->n_layers *
			arg->n_sum_heads * arg->n_sum_tokens * sizeof(float),
	};
	static const unsigned need[N_INPUT_PARTS] = {
		CKV_NEED_QUERIES, CKV_NEED_QUERIES, CKV_NEED_SUMS,
	};
	uint64_t at = 0;

	for (int i = 0; i < N_INPUT_PARTS; i++) {
		in->part[i].offset = at;
		if (want->needs & need[i])
			in->part[i].bytes = bytes[i];
		at = ckv_round_up(at + bytes[i], CKV_LINE);
	}
	return at;
}

static void keep_read(const struct ckv_compress_arg *arg, struct inputs *in)
{
	if (in->part[INPUT_QUERIES].bytes > 0) {
		in->n_query_heads = arg->n_query_heads;
		in->n_window = arg->n_window;
		in->query_dtype = arg->query_dtype;
	}
	if (in->part[INPUT_SUMS].bytes > 0) {
		in->n_sum_heads = arg->n_sum_heads;
		in->n_sum_tokens = arg->n_sum_tokens;
	}
	for (int i = 0; i < N_INPUT_PARTS; i++)
		in->memory_bytes += ckv_round_up(in->part[i].bytes, CKV_LINE);
}

int inputs_judge(const struct ckv_compress_arg *arg,
		 const struct inputs_want *want, struct inputs *ret_inputs,
		 char why[INPUTS_WHY_BYTES])
{
	struct inputs in = { .memory = NULL };
	uint64_t end;

	why[0] = 0;
	if (arg->inputs & ~(uint32_t)CKV_VIEW_LSE)
		snprintf(why, INPUTS_WHY_BYTES, "inputs %#x; expected 0 or %#x, "
			 "log-sum-exps", arg->inputs, CKV_VIEW_LSE);
	else if (arg->n_window != 0)
		judge_queries(arg, want, why);
	else if (arg->inputs & CKV_VIEW_LSE)
		snprintf(why, INPUTS_WHY_BYTES, "log-sum-exps came without "
			 "queries");
	if (why[0] == 0 && (arg->n_sum_heads != 0 || arg->n_sum_tokens != 0))
		judge_sums(arg, want, why);
	if (why[0] != 0)
		return -EINVAL;
	end = lay_out(arg, want, &in);
	keep_read(arg, &in);
	if (end > want->room_bytes || in.memory_bytes > want->max_bytes) {
		snprintf(why, INPUTS_WHY_BYTES, "inputs of %" PRIu64 " bytes, of "
			 "which %zu are read; %" PRIu64 " bytes of scratch pages "
			 "came, and at most %" PRIu64 " are read", end,
			 in.memory_bytes, want->room_bytes, want->max_bytes);
		return -EINVAL;
	}
	*ret_inputs = in;
	return 0;
}

uint32_t inputs_read(const struct inputs *in)
{
	return (in->part[INPUT_QUERIES].bytes > 0 ? CKV_VIEW_QUERIES : 0) |
	       (in->part[INPUT_LSE].bytes > 0 ? CKV_VIEW_LSE : 0) |
	       (in->part[INPUT_SUMS].bytes > 0 ? CKV_VIEW_SUMS : 0);
}

static void copy_part(char *to, uint64_t offset, uint64_t bytes,
		      const void *const *page, size_t page_bytes)
{
	while (bytes > 0) {
		size_t skip = offset % page_bytes, n = page_bytes - skip;

		n = n < bytes ? n : bytes;
		memcpy(to, (const char *)page[offset / page_bytes] + skip, n);
		to += n;
		offset += n;
		bytes -= n;
	}
}

int inputs_copy(struct inputs *in, const void *const *page, size_t page_bytes)
{
	char *at;
	int r;

	if (in->memory_bytes == 0)
		return 0;
	r = sys_map_private(in->memory_bytes, PROT_READ | PROT_WRITE,
			    &in->memory);
	if (r < 0)
		return -ENOMEM;
	at = in->memory;
	for (int i = 0; i < N_INPUT_PARTS; i++) {
		if (in->part[i].bytes == 0)
			continue;
		copy_part(at, in->part[i].offset, in->part[i].bytes, page,
			  page_bytes);
		in->part[i].data = at;
		at += ckv_round_up(in->part[i].bytes, CKV_LINE);
	}
	return 0;
}

void inputs_free(struct inputs *in)
{
	sys_unmap(in->memory, in->memory_bytes);
	in->memory = NULL;
}
