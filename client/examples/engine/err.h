/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - one line of text beside a negative errno.
 *
 * What a person must read to mend a file or an option: which file, which key
 * or tensor, what was found. Functions that take a struct err fill it whenever
 * they return less than 0.
 */
#ifndef ENGINE_ERR_H
#define ENGINE_ERR_H

struct err {
	char text[512];
};

/* Write the text and give `code` back, so that a caller can return it. */
__attribute__((format(printf, 3, 4)))
int err_set(struct err *e, int code, const char *fmt, ...);

#endif
