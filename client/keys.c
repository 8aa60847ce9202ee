/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.c - block keys from token ids.
 *
 * A key is SHA-256 of the space's first 64 bytes, the same for all of its keys, and of
 * what tells this block from others: parent, tokens, extras. The state after the
 * first bytes is made once per call. What is hashed per block without extras is the
 * same but for parent and tokens, so it is laid out once with SHA-256's own padding
 * and hashed in one go: two compressions for 16 tokens.
 *
 * The low-level SHA256 functions are used because an EVP context costs half as much
 * again as that; libcrypto takes the processor's SHA instructions by itself.
 * OPENSSL_API_COMPAT says that this file speaks 1.1.1.
 */
#define OPENSSL_API_COMPAT 0x10101000L

#include "client/lib.h"

#include <errno.h>
#include <openssl/sha.h>

enum {
	FIRST = 64,		/* bytes that all keys of a space begin with */
	HEAD = CKV_KEY_BYTES + 4,	/* parent and number of tokens */
	TEXT = 512,		/* bytes of the largest block that is laid out */
};

struct maker {
	SHA256_CTX first;	/* after the first bytes */
	uint32_t n_tokens;
	size_t token_bytes;
	const struct ckv_extra *extras;
	size_t n_extras;
	size_t text_bytes;	/* of `text` with its padding; 0: it is not laid out */
	uint8_t text[TEXT];	/* the next block: parent, n, and tokens if laid out */
};

static void put_u32(uint8_t *at, uint32_t n)
{
	memcpy(at, &n, sizeof n);
}

/* Each kind once, images as often as there are some; every length fits its field. */
static int extras_ok(const struct ckv_space *space,
		     const struct ckv_extra *extras, size_t n_extras)
{
	uint32_t seen = 0;

	if (n_extras > 0 && extras == NULL)
		return lib_why(space->ckv, -EINVAL, "n_extras is %zu, but extras is "
			       "NULL", n_extras);
	for (size_t i = 0; i < n_extras; i++) {
		const struct ckv_extra *e = &extras[i];

		if (e->kind < CKV_EXTRA_LORA || e->kind > CKV_EXTRA_OTHER)
			return lib_why(space->ckv, -EINVAL,
				       "extra %zu: there is no kind %u; expected %u "
				       "to %u", i, e->kind, CKV_EXTRA_LORA,
				       CKV_EXTRA_OTHER);
		if (e->kind != CKV_EXTRA_IMAGE && (seen >> e->kind & 1))
			return lib_why(space->ckv, -EINVAL,
				       "extra %zu: kind %u is given twice; only "
				       "images may be", i, e->kind);
		if (e->bytes > UINT32_MAX || (e->bytes > 0 && e->data == NULL))
			return lib_why(space->ckv, -EINVAL,
				       "extra %zu: %zu bytes, but %s", i, e->bytes,
				       e->data == NULL ? "data is NULL" :
				       "at most 4294967295 are hashed");
		seen |= 1u << e->kind;
	}
	return 0;
}

static void add_extra(SHA256_CTX *sha, const struct ckv_extra *e)
{
	uint8_t tag[8];

	put_u32(tag, e->kind);
	put_u32(tag + 4, (uint32_t)e->bytes);
	SHA256_Update(sha, tag, sizeof tag);
	if (e->bytes > 0)
		SHA256_Update(sha, e->data, e->bytes);
}

/* The end of a text of `bytes` after FIRST, as SHA-256 pads it. */
static void pad(struct maker *m, size_t bytes)
{
	uint64_t bits = __builtin_bswap64((FIRST + bytes) * 8);

	m->text_bytes = ckv_round_up(bytes + 1 + sizeof bits, 64);
	m->text[bytes] = 0x80;
	memcpy(m->text + m->text_bytes - sizeof bits, &bits, sizeof bits);
}

static void maker_init(struct maker *m, const struct ckv_space *space,
		       const struct ckv_extra *extras, size_t n_extras)
{
	uint8_t first[FIRST] = "ckv2";

	memset(m, 0, sizeof *m);
	lib_space_secret(space, first + 4);
	SHA256_Init(&m->first);
	SHA256_Update(&m->first, first, sizeof first);
	m->n_tokens = space->geometry.block_tokens;
	m->token_bytes = m->n_tokens * sizeof(uint32_t);
	m->extras = extras;
	m->n_extras = n_extras;
	put_u32(m->text + CKV_KEY_BYTES, m->n_tokens);
	if (n_extras == 0 && HEAD + m->token_bytes + 9 <= TEXT)
		pad(m, HEAD + m->token_bytes);
}

/* Hash what is laid out; the digest, which is the state, is the next parent. */
static void make_laid_out(struct maker *m, const uint32_t *tokens,
			  uint8_t *ret_key)
{
	SHA256_CTX sha = m->first;

	memcpy(m->text + HEAD, tokens, m->token_bytes);
	SHA256_Update(&sha, m->text, m->text_bytes);
	for (int i = 0; i < 8; i++) {
		put_u32(m->text + 4 * i, __builtin_bswap32(sha.h[i]));
		put_u32(ret_key + 4 * i, __builtin_bswap32(sha.h[i]));
	}
}

static void make(struct maker *m, const uint32_t *tokens, uint8_t *ret_key)
{
	SHA256_CTX sha;

	if (m->text_bytes > 0) {
		make_laid_out(m, tokens, ret_key);
		return;
	}
	sha = m->first;
	SHA256_Update(&sha, m->text, HEAD);
	SHA256_Update(&sha, tokens, m->token_bytes);
	for (uint32_t kind = CKV_EXTRA_LORA; kind <= CKV_EXTRA_OTHER; kind++)
		for (size_t i = 0; i < m->n_extras; i++)
			if (m->extras[i].kind == kind)
				add_extra(&sha, &m->extras[i]);
	SHA256_Final(ret_key, &sha);
	memcpy(m->text, ret_key, CKV_KEY_BYTES);
}

long ckv_keys(const struct ckv_space *space, const uint8_t *parent,
	      const uint32_t *tokens, size_t n_tokens,
	      const struct ckv_extra *extras, size_t n_extras,
	      uint8_t *ret_keys)
{
	uint32_t block_tokens = space->geometry.block_tokens;
	size_t n_blocks = n_tokens / block_tokens;
	struct maker m;
	int r;

	if (lib_forked(space->ckv->mine))
		return lib_plain(space->ckv, -ECHILD);
	if (space->geometry.key_scheme != CKV_KEYS_SHA256)
		return lib_why(space->ckv, -EINVAL,
			       "space %s takes the engine's own keys, none of "
			       "ckv_keys()", space->name);
	r = extras_ok(space, extras, n_extras);
	if (r < 0)
		return r;
	maker_init(&m, space, extras, n_extras);
	if (parent != NULL)
		memcpy(m.text, parent, CKV_KEY_BYTES);
	for (size_t i = 0; i < n_blocks; i++)
		make(&m, tokens + i * block_tokens,
		     ret_keys + i * CKV_KEY_BYTES);
	return (long)n_blocks;
}
