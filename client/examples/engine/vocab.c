/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vocab.c - words to ids by binary search in a sorted list, ids to words by
 * index. A word that is not in the list is an error, never guessed.
 */
#include "client/examples/engine/vocab.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define VOCAB_BYTES_MAX	(64u << 20)

static int read_text(const char *path, char **ret_text, struct err *e)
{
	FILE *in = fopen(path, "re");
	size_t bytes = 0, room = 1 << 16;
	char *text = NULL;
	int r = 0;

	if (in == NULL)
		return err_set(e, -errno, "%s: %s; it holds the model's words, "
			       "one a line, that of id 0 first", path,
			       strerror(errno));
	for (;;) {
		char *more = realloc(text, room + 1);

		if (more == NULL || room > VOCAB_BYTES_MAX) {
			r = err_set(e, -ENOMEM, "%s: too large", path);
			text = more != NULL ? more : text;
			break;
		}
		text = more;
		bytes += fread(text + bytes, 1, room - bytes, in);
		if (bytes < room)
			break;
		room *= 2;
	}
	if (r == 0 && ferror(in))
		r = err_set(e, -EIO, "%s: cannot be read", path);
	if (r == 0 && memchr(text, 0, bytes) != NULL)
		r = err_set(e, -EINVAL, "%s: it is no text: byte %zu is zero",
			    path, (size_t)((char *)memchr(text, 0, bytes) - text));
	fclose(in);
	if (r < 0) {
		free(text);
		return r;
	}
	text[bytes] = '\0';
	*ret_text = text;
	return 0;
}

/* As JSON needs it, in which answers may be printed. */
static bool is_utf8(const char *word, size_t n)
{
	json_t *string = json_stringn(word, n);

	json_decref(string);
	return string != NULL;
}

static int split_lines(const char *path, struct vocab *v, uint32_t n_ids,
		       struct err *e)
{
	char *at = v->text;

	while (*at != '\0') {
		size_t n = strcspn(at, "\r\n");

		if (n == 0)
			return err_set(e, -EINVAL, "%s: line %u is empty", path,
				       v->n_words + 1);
		if (!is_utf8(at, n))
			return err_set(e, -EINVAL, "%s: line %u is not UTF-8",
				       path, v->n_words + 1);
		if (v->n_words == n_ids)
			return err_set(e, -EINVAL, "%s: more words than the "
				       "vocab_size %u of config.json", path,
				       n_ids);
		v->word[v->n_words++] = at;
		at += n;
		if (*at == '\r')
			*at++ = '\0';
		if (*at == '\n')
			*at++ = '\0';
	}
	return v->n_words > 0 ? 0 : err_set(e, -EINVAL, "%s: has no words",
					    path);
}

static int by_word(const void *a, const void *b, void *words)
{
	const char *const *word = words;

	return strcmp(word[*(const uint32_t *)a], word[*(const uint32_t *)b]);
}

static int sort_words(const char *path, struct vocab *v, struct err *e)
{
	for (uint32_t i = 0; i < v->n_words; i++)
		v->sorted[i] = i;
	qsort_r(v->sorted, v->n_words, sizeof(*v->sorted), by_word,
		(void *)v->word);
	for (uint32_t i = 1; i < v->n_words; i++)
		if (strcmp(v->word[v->sorted[i - 1]],
			   v->word[v->sorted[i]]) == 0)
			return err_set(e, -EINVAL, "%s: the word %s is there "
				       "twice", path, v->word[v->sorted[i]]);
	return 0;
}

int vocab_load(const char *path, uint32_t n_ids, struct vocab *ret,
	       struct err *e)
{
	struct vocab v = { 0 };
	int r;

	r = read_text(path, &v.text, e);
	if (r < 0)
		return r;
	v.word = calloc(n_ids, sizeof(*v.word));
	v.sorted = calloc(n_ids, sizeof(*v.sorted));
	if (v.word == NULL || v.sorted == NULL)
		r = err_set(e, -ENOMEM, "out of memory");
	if (r == 0)
		r = split_lines(path, &v, n_ids, e);
	if (r == 0)
		r = sort_words(path, &v, e);
	if (r < 0) {
		vocab_free(&v);
		return r;
	}
	*ret = v;
	return 0;
}

void vocab_free(struct vocab *v)
{
	free(v->sorted);
	free(v->word);
	free(v->text);
	memset(v, 0, sizeof(*v));
}

/* The id of the n bytes at `word`, or -1. */
static int64_t find_word(const struct vocab *v, const char *word, size_t n)
{
	uint32_t lo = 0, hi = v->n_words;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const char *w = v->word[v->sorted[mid]];
		int order = strncmp(w, word, n);

		if (order == 0 && w[n] == '\0')
			return v->sorted[mid];
		if (order < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

int64_t vocab_find(const struct vocab *v, const char *word)
{
	return find_word(v, word, strlen(word));
}

int vocab_encode(const struct vocab *v, const char *text, uint32_t **ret_ids,
		 struct err *e)
{
	static const char blank[] = " \t\r\n";
	uint32_t *ids = calloc(strlen(text) / 2 + 1, sizeof(*ids));
	const char *at = text + strspn(text, blank);
	int n_ids = 0;

	if (ids == NULL)
		return err_set(e, -ENOMEM, "out of memory");
	while (*at != '\0') {
		size_t n = strcspn(at, blank);
		int64_t id = find_word(v, at, n);

		if (id < 0) {
			free(ids);
			return err_set(e, -EINVAL, "the model does not know "
				       "the word \"%.*s\"; its words are in "
				       "its vocab.txt, blanks between words and "
				       "signs", (int)(n < 64 ? n : 64), at);
		}
		ids[n_ids++] = (uint32_t)id;
		at += n;
		at += strspn(at, blank);
	}
	*ret_ids = ids;
	return n_ids;
}

char *vocab_decode(const struct vocab *v, const uint32_t *ids, size_t n_ids)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&text, &bytes);

	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < n_ids; i++) {
		fputs(i > 0 ? " " : "", out);
		if (ids[i] < v->n_words)
			fputs(v->word[ids[i]], out);
		else
			fprintf(out, "<%u>", ids[i]);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
