/* ask.h - ckv-engine --prompt: read a text and go on, or answer questions. */
#ifndef ENGINE_ASK_H
#define ENGINE_ASK_H

#include "client/examples/engine/err.h"
#include "client/examples/engine/model.h"
#include "client/examples/engine/options.h"

/* Answer and print. 0 or -errno. */
int ask_run(const struct options *o, const struct model *m, struct err *e);

#endif
