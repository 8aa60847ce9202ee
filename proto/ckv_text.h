/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_text.h - text from another process, made safe to print.
 *
 * A name may contain line breaks, terminal control codes, or bytes that are no text. Code
 * that prints one to a log or a screen writes such bytes as C escapes (\n, \x1b).
 */
#ifndef CKV_TEXT_H
#define CKV_TEXT_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* One byte as it is printed, at most 4 bytes. `quoted`: " and \ are escaped, too. */
static inline size_t ckv_text_byte(char out[5], unsigned char c, int quoted)
{
	static const char name[] = "abtnvfr";

	if (c >= 7 && c <= 13)
		return (size_t)snprintf(out, 5, "\\%c", name[c - 7]);
	if (c < 0x20 || c > 0x7e)
		return (size_t)snprintf(out, 5, "\\x%02x", c);
	if (quoted && (c == '"' || c == '\\'))
		return (size_t)snprintf(out, 5, "\\%c", c);
	out[0] = (char)c;
	return 1;
}

/* At most n bytes of `from`, to its first 0, into `bytes` bytes; the length. */
static inline size_t ckv_text_put(char *out, size_t bytes, const char *from,
				  size_t n, int quoted)
{
	char shown[5];
	size_t at = 0, one;

	for (size_t i = 0; i < n && from[i] != 0; i++) {
		one = ckv_text_byte(shown, (unsigned char)from[i], quoted);
		if (at + one + 3 >= bytes) {
			/* No room: cut between two bytes of `from`, and show that. */
			memcpy(out + at, "...", 4);
			return at + 3;
		}
		memcpy(out + at, shown, one);
		at += one;
	}
	out[at] = 0;
	return at;
}

/*
 * A name that is printed between quotes: at most n bytes of `from`, to the first 0. `out`
 * has `bytes` bytes, 4 or more, and gets a 0 at the end. Quotes in the name are escaped,
 * so a reader sees where it ends. Returns the length.
 */
static inline size_t ckv_text_name(char *out, size_t bytes, const char *from,
				   size_t n)
{
	return ckv_text_put(out, bytes, from, n, 1);
}

/* A whole line: quotes and \ stay as they are. */
static inline size_t ckv_text_line(char *out, size_t bytes, const char *from)
{
	return ckv_text_put(out, bytes, from, (size_t)-1, 0);
}

#endif
