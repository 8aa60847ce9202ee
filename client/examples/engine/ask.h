/* SPDX-License-Identifier: Apache-2.0 */
/* ask.h - ckv-engine --prompt: read a text and go on, or answer questions. */
#ifndef ENGINE_ASK_H
#define ENGINE_ASK_H

#include "client/examples/engine/err.h"
#include "client/examples/engine/model.h"
#include "client/examples/engine/options.h"
#include "client/examples/engine/share.h"

/* Answer and print. `share` may be NULL. 0 or -errno. */
int ask_run(const struct options *o, const struct model *m, struct share *share,
	    struct err *e);

#endif
