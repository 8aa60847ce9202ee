/*
 * keys.c - block keys from token ids.
 *
 * The low-level SHA256 functions are used because one key is three compressions:
 * there an EVP context costs half as much again as the hash itself. They have
 * been in every libcrypto; OPENSSL_API_COMPAT says that this file speaks 1.1.1.
 */
#define OPENSSL_API_COMPAT 0x10101000L

#include "client/lib.h"

#include <errno.h>
#include <openssl/sha.h>

static void put_u32(uint8_t *at, uint32_t n)
{
	memcpy(at, &n, sizeof n);
}

long ckv_keys(const struct ckv_space *space, const uint8_t *parent,
	      const uint32_t *tokens, size_t n_tokens,
	      const void *extra, size_t extra_bytes, uint8_t *ret_keys)
{
	static const uint8_t root[CKV_KEY_BYTES];
	uint32_t block_tokens = space->geometry.block_tokens;
	size_t n_blocks = n_tokens / block_tokens;
	uint8_t head[72] = "ckv1";

	if (lib_forked(space->ckv->mine))
		return -ECHILD;
	if (space->geometry.key_scheme != CKV_KEYS_SHA256)
		return lib_why(space->ckv, -EINVAL,
			       "space %s: keys are made by the engine",
			       space->name);
	lib_space_secret(space, head + 4);
	put_u32(head + 68, block_tokens);
	for (size_t i = 0; i < n_blocks; i++) {
		SHA256_CTX sha;

		memcpy(head + 36, parent != NULL ? parent : root,
		       CKV_KEY_BYTES);
		SHA256_Init(&sha);
		SHA256_Update(&sha, head, sizeof head);
		SHA256_Update(&sha, tokens + i * block_tokens,
			      block_tokens * sizeof *tokens);
		if (extra_bytes > 0)
			SHA256_Update(&sha, extra, extra_bytes);
		parent = ret_keys + i * CKV_KEY_BYTES;
		SHA256_Final(ret_keys + i * CKV_KEY_BYTES, &sha);
	}
	return (long)n_blocks;
}
