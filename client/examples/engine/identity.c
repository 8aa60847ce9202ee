/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c - see identity.h.
 *
 * SHA-256 of parts, each after its length: no two lists of parts are one stream.
 */
#include "client/examples/engine/identity.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#define PIECE_BYTES	4096u
#define N_PIECES	64u

static bool add(EVP_MD_CTX *ctx, const void *data, size_t bytes)
{
	uint8_t length[8];

	for (unsigned i = 0; i < 8; i++)
		length[i] = (uint8_t)((uint64_t)bytes >> (8 * i));
	return EVP_DigestUpdate(ctx, length, sizeof(length)) == 1 &&
	       EVP_DigestUpdate(ctx, data, bytes) == 1;
}

/* 0, or -errno of reading it. */
static int add_text_file(EVP_MD_CTX *ctx, const char *path)
{
	FILE *f = fopen(path, "re");
	char part[4096];
	size_t n;
	int r = 0;

	if (f == NULL)
		return -errno;
	/* A part that is not full is the last one. */
	do {
		n = fread(part, 1, sizeof(part), f);
		if (!add(ctx, part, n))
			r = -ENOMEM;
	} while (n == sizeof(part) && r == 0);
	if (ferror(f))
		r = -EIO;
	fclose(f);
	return r;
}

/* The whole tensor, or pieces of it; the last one ends where it ends. */
static bool add_tensor(EVP_MD_CTX *ctx, const struct st_tensor *t)
{
	uint64_t last = t->bytes - PIECE_BYTES;

	if (t->bytes <= N_PIECES * PIECE_BYTES)
		return add(ctx, t->data, t->bytes);
	for (uint64_t i = 0; i < N_PIECES; i++)
		if (!add(ctx, t->data + last / (N_PIECES - 1) * i +
			 last % (N_PIECES - 1) * i / (N_PIECES - 1),
			 PIECE_BYTES))
			return false;
	return true;
}

static bool add_file(EVP_MD_CTX *ctx, const struct st_file *f)
{
	bool ok = add(ctx, f->head, f->head_bytes);

	for (size_t i = 0; i < f->n_tensors && ok; i++)
		ok = add_tensor(ctx, &f->tensor[i]);
	return ok;
}

int identity_of(const char *config_path, const char *arithmetic,
		const struct st_file *files, size_t n_files,
		uint8_t ret[IDENTITY_BYTES], struct err *e)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int r = 0;

	if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
	    !add(ctx, arithmetic, strlen(arithmetic)))
		r = -ENOMEM;
	if (r == 0)
		r = add_text_file(ctx, config_path);
	if (r < 0)
		err_set(e, r, "%s: %s", config_path, strerror(-r));
	for (size_t i = 0; i < n_files && r == 0; i++)
		if (!add_file(ctx, &files[i]))
			r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0 && EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		r = err_set(e, -ENOMEM, "out of memory");
	EVP_MD_CTX_free(ctx);
	return r;
}
