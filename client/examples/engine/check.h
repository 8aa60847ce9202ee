/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - ckv-engine --expect: are the logits right? */
#ifndef ENGINE_CHECK_H
#define ENGINE_CHECK_H

#include "client/examples/engine/err.h"
#include "client/examples/engine/model.h"
#include "client/examples/engine/options.h"
#include "client/examples/engine/share.h"

/*
 * Compare with o->expect and print one line a prompt and a verdict, or one
 * JSON object. With `share` (may be NULL) also cold against cached. 0 when
 * every prompt is right, 1 when one is not, -errno when it could not be found
 * out.
 */
int check_run(const struct options *o, const struct model *m,
	      struct share *share, struct err *e);

#endif
