/* SPDX-License-Identifier: Apache-2.0 */
/*
 * geometry.c - compare a client's page layout and model with the space's.
 */
#include "daemon/shell/geometry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MODEL_SHOWN	64	/* at most so many letters of a name are in a refusal */
#define MODEL_TEXT	(MODEL_SHOWN + 7)

const char *geometry_layout(uint32_t layout)
{
	switch (layout) {
	case CKV_LAYOUT_HEAD_MAJOR:	return "head-major";
	case CKV_LAYOUT_TOKEN_MAJOR:	return "token-major";
	case CKV_LAYOUT_OPAQUE:		return "opaque";
	default:			return "none of these";
	}
}

static const char *type_word(uint32_t type)
{
	switch (type) {
	case CKV_DTYPE_F32:	return "f32";
	case CKV_DTYPE_F16:	return "f16";
	case CKV_DTYPE_BF16:	return "bf16";
	case CKV_DTYPE_F8_E4M3:	return "f8_e4m3";
	default:		return "none of these";
	}
}

static const char *scheme_word(uint32_t scheme)
{
	switch (scheme) {
	case CKV_KEYS_SHA256:	return "tokens";
	case CKV_KEYS_ENGINE:	return "engine";
	default:		return "none of these";
	}
}

/* The name from letter `from` on, where it begins to differ from the other one. */
static void show_model(const char model[CKV_MODEL_BYTES], size_t from,
		       char text[MODEL_TEXT])
{
	size_t n = strnlen(model + from, CKV_MODEL_BYTES - from);

	snprintf(text, MODEL_TEXT, "%s%.*s%s", from > 0 ? "..." : "",
		 n < MODEL_SHOWN ? (int)n : MODEL_SHOWN, model + from,
		 n > MODEL_SHOWN ? "..." : "");
}

static int compare_model(const char *space, const struct ckv_geometry *ours,
			 const struct ckv_geometry *theirs, const char *where,
			 char text[232])
{
	char here[MODEL_TEXT], there[MODEL_TEXT];
	size_t same = 0, from;

	/* Ours has its 0 byte, so theirs differs if it has none. */
	if (strncmp(ours->model, theirs->model, CKV_MODEL_BYTES) == 0)
		return 0;
	while (ours->model[same] == theirs->model[same])
		same++;
	from = same < MODEL_SHOWN / 4 ? 0 : same - MODEL_SHOWN / 4;
	show_model(ours->model, from, here);
	show_model(theirs->model, from, there);
	snprintf(text, 232, "space %s: model is %s here, %s %s", space, here, there,
		 where);
	return -EINVAL;
}

int geometry_compare(const char *space, const struct ckv_geometry *ours,
		     const struct ckv_geometry *theirs, const char *where,
		     char text[232])
{
	const struct {
		const char *name;
		uint64_t ours, theirs;
		const char *(*word)(uint32_t);	/* NULL: a number */
	} field[] = {
		/* The first, because it decides which of the others have a meaning. */
		{ "layout", ours->layout, theirs->layout, geometry_layout },
		{ "n_layers", ours->n_layers, theirs->n_layers, NULL },
		{ "n_kv_heads", ours->n_kv_heads, theirs->n_kv_heads, NULL },
		{ "dim_k", ours->dim_k, theirs->dim_k, NULL },
		{ "dim_v", ours->dim_v, theirs->dim_v, NULL },
		{ "block_tokens", ours->block_tokens, theirs->block_tokens, NULL },
		{ "n_ranks", ours->n_ranks, theirs->n_ranks, NULL },
		{ "dtype", ours->dtype, theirs->dtype, type_word },
		{ "block_bytes", ours->opaque_bytes, theirs->opaque_bytes, NULL },
		{ "key_scheme", ours->key_scheme, theirs->key_scheme, scheme_word },
	};
	int r = compare_model(space, ours, theirs, where, text);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
		if (field[i].ours == field[i].theirs)
			continue;
		if (field[i].word != NULL)
			snprintf(text, 232, "space %s: %s is %s here, %s (%u) %s",
				 space, field[i].name,
				 field[i].word((uint32_t)field[i].ours),
				 field[i].word((uint32_t)field[i].theirs),
				 (uint32_t)field[i].theirs, where);
		else
			snprintf(text, 232, "space %s: %s is %" PRIu64 " here, %"
				 PRIu64 " %s", space, field[i].name, field[i].ours,
				 field[i].theirs, where);
		return -EINVAL;
	}
	return 0;
}
