/* SPDX-License-Identifier: Apache-2.0 */
/* attend.h - attention of a batch of queries over a sequence's runs. */
#ifndef ENGINE_ATTEND_H
#define ENGINE_ATTEND_H

#include "client/examples/engine/engine.h"

#define ATTEND_TILE	8u	/* tokens whose queries pass over a run together */

/*
 * eng->mix = attention of eng->q (n tokens from position pos, already scaled)
 * over everything up to and with each token itself. 0 or -ENOMEM.
 */
int attend(struct engine *eng, const struct kv *kv, uint32_t layer, uint32_t n,
	   uint32_t pos);

#endif
