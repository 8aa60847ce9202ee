/* SPDX-License-Identifier: Apache-2.0 */
/*
 * structured.h - keys, values and queries with the structure that real ones have,
 * without a model: eight properties, each with a switch, so that a test can show
 * that a method wins where it should and not elsewhere. Gaussian numbers alone make
 * every method look the same.
 */
#ifndef QUALITY_STRUCTURED_H
#define QUALITY_STRUCTURED_H

#include "tests/quality/context.h"

enum structure {
	SINKS	     = 1 << 0,	/* 4 first keys: small, and every query likes them */
	LOCAL	     = 1 << 1,	/* neighbours are alike: AR(1) in keys and queries */
	HITTERS	     = 1 << 2,	/* 1 % of the keys: every query likes them somewhat */
	OUTLIERS     = 1 << 3,	/* 3 key channels, 10 to 20 times as large */
	SPANS	     = 1 << 4,	/* needles of 8 to 24 tokens: questions find how they
				 * begin, answers need the rest */
	TEMPERATURES = 1 << 5,	/* heads from flat to sharp */
	CLUSTERS     = 1 << 6,	/* keys around 100 directions; a query means a few */
	LOW_RANK     = 1 << 7,	/* values: 8 directions, and noise */
	ALL_STRUCTURE = (1 << 8) - 1,
};

enum {
	STRUCTURED_SINKS = 4, STRUCTURED_CLUSTERS = 100, STRUCTURED_RANK = 8,
	STRUCTURED_SPANS = 4,		/* a session for each */
	STRUCTURED_ASKED = 8, STRUCTURED_PROBES = 8,
	STRUCTURED_OUTLIERS = 3,
};

/* What tests and nobody else may know of a context. */
struct structured_truth {
	uint32_t span_first[STRUCTURED_SPANS], span_n[STRUCTURED_SPANS];
	uint8_t *cluster;	/* [token]; to free() */
	float v_basis[STRUCTURED_RANK][64];	/* orthonormal; of every head */
};

extern const struct shape structured_shape;

/*
 * A context of n_tokens (64 at least) and its sessions, from a seed. The caller frees all of
 * them and truth->cluster. 0 or -ENOMEM, and then there is nothing to free.
 */
int structured_make(unsigned structure, uint32_t n_tokens, uint64_t seed,
		    const struct vec_ops *ops, struct context *ret,
		    struct session ret_session[STRUCTURED_SPANS],
		    struct structured_truth *ret_truth);

#endif
