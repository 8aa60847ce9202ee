/* SPDX-License-Identifier: Apache-2.0 */
/* floor.c - see floor.h. */
#include "daemon/shell/floor.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ROWS_OF_SCALES	4096u	/* the share of bytes is computed for so many rows */

static const struct quality_row rows[] = {
#define QUALITY(family, share_num, share_den, n_tokens, right)	\
	{ family, share_num, share_den, n_tokens, right },
#include "daemon/shell/quality.def"
	{ .family = NULL },
};

const struct quality_table quality_table = {
	rows, sizeof rows / sizeof rows[0] - 1,
};

/* ---- families ---- */

static void encoding_name(const struct ckv_encode *e, char *text, size_t room)
{
	static const char *const scale[] = {
		[CKV_FP8_ONE] = "one", [CKV_FP8_TENSOR] = "tensor",
		[CKV_FP8_HEAD] = "head", [CKV_FP8_BLOCK] = "block",
	};

	switch (e->kind) {
	case CKV_ENCODE_BF16:
		snprintf(text, room, "bf16");
		break;
	case CKV_ENCODE_F16:
		snprintf(text, room, "fp16");
		break;
	case CKV_ENCODE_FP8:
		snprintf(text, room, "fp8(scale=%s)", scale[e->scale]);
		break;
	case CKV_ENCODE_KIVI:
		snprintf(text, room, "kivi(bits=%u, group=%u)", e->bits,
			 e->group);
		break;
	case CKV_ENCODE_PLAIN:
		snprintf(text, room, "plain");
		break;
	}
}

void floor_family(const struct ckv_method *m, char family[FLOOR_FAMILY_BYTES])
{
	char encoding[40];

	encoding_name(&m->encode, encoding, sizeof encoding);
	if (m->select.kind == CKV_KEEP_ALL)
		snprintf(family, FLOOR_FAMILY_BYTES, "%s", encoding);
	else	/* the canonical text begins with the selection's name */
		snprintf(family, FLOOR_FAMILY_BYTES, "%.*s + %s",
			 (int)strcspn(m->text, "( "), m->text, encoding);
}

static bool keeps_all(const char *family)
{
	return strchr(family, '+') == NULL;
}

/* ---- shares ---- */

static double share_of(const struct quality_row *row)
{
	return (double)row->share_num / row->share_den;
}

/* Bytes of encoded rows with their scales, as a share of the plain rows' bytes. */
static double encoded_share(const struct ckv_encode *e, const struct ckv_object *o)
{
	size_t n = ROWS_OF_SCALES, bytes, plain;

	plain = n * ((size_t)o->dim_k + o->dim_v) * ckv_elem_bytes(o->elem);
	bytes = ckv_code_bytes(e, o->elem, CKV_SIDE_KEY, n, o->dim_k) +
		ckv_scale_bytes(e, o->elem, CKV_SIDE_KEY, n, o->dim_k) +
		ckv_code_bytes(e, o->elem, CKV_SIDE_VALUE, n, o->dim_v) +
		ckv_scale_bytes(e, o->elem, CKV_SIDE_VALUE, n, o->dim_v);
	return (double)bytes / (double)plain;
}

/* The share of bytes that was requested, in bytes or by tokens; full tails are not counted. */
static double asked_share(const struct ckv_method *asked,
			  const struct ckv_method *settled,
			  const struct ckv_object *o)
{
	const struct ckv_selection *s = &asked->select;
	double tokens = 1;

	if (asked->bytes_den != 0)
		return (double)asked->bytes_num / asked->bytes_den;
	if (s->keep_den != 0)
		tokens = (double)s->keep_num / s->keep_den;
	else if (s->n_keep < o->n_tokens)
		tokens = (double)s->n_keep / o->n_tokens;
	return tokens * encoded_share(&settled->encode, o);
}

/* ---- rows ---- */

/*
 * The worst row of those of this family with the largest share up to `most`; NULL: none.
 * In a family that keeps every token all rows compete: their shares differ only a
 * little, by length.
 */
static const struct quality_row *row_for(const struct quality_table *t,
					 const char *family, double most)
{
	const struct quality_row *best = NULL;
	bool whole = keeps_all(family);

	for (uint32_t i = 0; i < t->n_rows; i++) {
		const struct quality_row *row = &t->row[i];

		if (strcmp(row->family, family) != 0 ||
		    (!whole && share_of(row) > most))
			continue;
		if (best == NULL || (!whole && share_of(row) > share_of(best)) ||
		    ((whole || share_of(row) == share_of(best)) &&
		     row->right < best->right))
			best = row;
	}
	return best;
}

/* The row that reaches the floor in the fewest bytes; family NULL: of any family. */
static const struct quality_row *row_passing(const struct quality_table *t,
					     const char *family, uint32_t floor)
{
	const struct quality_row *best = NULL;

	for (uint32_t i = 0; i < t->n_rows; i++) {
		const struct quality_row *row =
			row_for(t, t->row[i].family, share_of(&t->row[i]));

		if ((family != NULL && strcmp(row->family, family) != 0) ||
		    row->right < floor * 10)
			continue;
		if (best == NULL || share_of(row) < share_of(best))
			best = row;
	}
	return best;
}

static void say_passing(const struct quality_table *t, const char *family,
			uint32_t floor, char *text, size_t room)
{
	const struct quality_row *row = row_passing(t, family, floor);

	if (row == NULL)
		row = row_passing(t, NULL, floor);
	if (row == NULL)
		snprintf(text, room, "nothing recorded passes");
	else
		snprintf(text, room, "%s passes, %.3g %% at %.3g %%", row->family,
			 row->right / 10.0, 100 * share_of(row));
}

int floor_check(const struct quality_table *t, uint32_t floor,
		const struct ckv_method *asked, const struct ckv_method *settled,
		const struct ckv_object *o, char why[CKV_METHOD_WHY_BYTES])
{
	char family[FLOOR_FAMILY_BYTES];
	const struct quality_row *row;
	double share;
	int n;

	floor_family(settled, family);
	share = asked_share(asked, settled, o);
	row = floor == 0 ? NULL : row_for(t, family, share);
	if (floor == 0 || (row != NULL && row->right >= floor * 10))
		return 0;
	if (row != NULL)
		n = snprintf(why, CKV_METHOD_WHY_BYTES, "floor %u %%: at %.3g %% of "
			     "the bytes %.3g %% are right (row %s, %u/%u, %u tokens, "
			     "asked later); ", floor, 100 * share,
			     row->right / 10.0, family, row->share_num,
			     row->share_den, row->n_tokens);
	else if (row_for(t, family, 1) != NULL)
		n = snprintf(why, CKV_METHOD_WHY_BYTES, "floor %u %%: %s is not "
			     "recorded at %.3g %% of the bytes or less; ", floor,
			     family, 100 * share);
	else
		n = snprintf(why, CKV_METHOD_WHY_BYTES, "floor %u %%: %s is not "
			     "recorded; ", floor, family);
	say_passing(t, family, floor, why + n, CKV_METHOD_WHY_BYTES - (size_t)n);
	return -EPERM;
}
