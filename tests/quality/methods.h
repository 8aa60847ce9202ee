/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods.h - what is compared: every selection and encoding alone, and together.
 */
#ifndef QUALITY_METHODS_H
#define QUALITY_METHODS_H

#include <stddef.h>
#include <stdint.h>

enum { METHOD_TEXT_BYTES = 256 };

struct compared {
	const char *name;	/* in tables */
	const char *select;	/* NULL: every token stays */
	const char *keys;	/* of the selection, beside bytes and window */
	const char *encode;	/* NULL: plain */
	int windowed;		/* it has a `window` of queries */
	int reads_queries;	/* so it matters whether the question is known */
	int key_per_token;	/* keys are encoded as values are: to see the loss */
};

extern const struct compared compared[];
extern const uint32_t n_compared;

/* Number of the method of that name, which is there. */
uint32_t compared_at(const char *name);

/*
 * Its text for a share of num / den of the plain bytes. den 0, and methods that
 * keep every token: no share is named.
 */
void compared_text(const struct compared *m, uint32_t num, uint32_t den,
		   uint32_t window, char text[METHOD_TEXT_BYTES]);

#endif
