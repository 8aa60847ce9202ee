/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_text.h - text that somebody else chose, made safe to show.
 *
 * A name can hold line breaks, terminal controls and bytes of no character
 * set. Whoever writes it to a log or a screen shows it in C's way instead.
 */
#ifndef CKV_TEXT_H
#define CKV_TEXT_H

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* How one byte is shown; at most 4 bytes. `quoted`: quotes and \ are marked, too. */
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

static inline size_t ckv_text_put(char *out, size_t bytes, const char *from,
				  size_t n, int quoted)
{
	char shown[5];
	size_t at = 0, one;

	for (size_t i = 0; i < n && from[i] != 0; i++) {
		one = ckv_text_byte(shown, (unsigned char)from[i], quoted);
		if (at + one + 3 >= bytes) {
			/* Cut where a byte begins, and say so. */
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
 * A name for the inside of a sentence: at most n bytes of `from`, to the first 0, in
 * at most `bytes` (4 or more) with the 0 at the end. Its own quotes are marked, so a
 * reader sees where it ends. The length.
 */
static inline size_t ckv_text_name(char *out, size_t bytes, const char *from,
				   size_t n)
{
	return ckv_text_put(out, bytes, from, n, 1);
}

/* A whole line: what is printable stays as it is. */
static inline size_t ckv_text_line(char *out, size_t bytes, const char *from)
{
	return ckv_text_put(out, bytes, from, (size_t)-1, 0);
}

#endif
