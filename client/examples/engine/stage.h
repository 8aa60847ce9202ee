/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - where the demo plays: a private daemon in a folder of its own, and
 * the engines that it starts there.
 */
#ifndef ENGINE_STAGE_H
#define ENGINE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "client/examples/engine/err.h"
#include "client/examples/engine/proc.h"

#define STAGE_SPACE	"story"

struct stage {
	/* Given, or "" and 0 to be chosen here: */
	char bin[512];			/* folder of ckvd, ckv and ckv-engine */
	char model[512];		/* folder of the model and its stories */
	uint32_t pool_mib;		/* of the daemon; 0: enough for the demo */
	char dir[64];			/* private; "" when there is none */
	char socket[128], config[128], log[128];
	char ckvd[640], ckv[640], engine[640];
	int errors;			/* the log, where everybody complains */
	struct proc keeper;		/* ckvd --keeper, the daemon's parent */
	json_t *story, *second;		/* documents and their questions */
	uint32_t n_questions;		/* that are asked of a view */
};

/*
 * Find the programs, load the stories, make the folder and
 * start the daemon in it. On failure everything is taken down again.
 */
int stage_open(struct stage *s, struct err *e);

/* Stop the daemon and remove the folder. -ECHILD: it did not end well. */
int stage_close(struct stage *s, struct err *e);

/* The daemon's process, which its keeper starts again when it ends; 0: none answers. */
pid_t stage_daemon(const struct stage *s);

/* Show on standard error what the daemon and the engines complained about. */
void stage_complain(const struct stage *s);

/* The story's text, its i-th question, and the answer to it. */
const char *stage_text(const json_t *story);
const char *stage_question(const struct stage *s, uint32_t i);
bool stage_is_right(const struct stage *s, uint32_t i, const json_t *answer);

/* Arguments of an engine that reads the story; through the cache or not. */
void stage_engine(const struct stage *s, bool cached, struct args *ret);

/* What the daemon says of itself: `ckv status` and `ckv clients`. */
int stage_status(struct stage *s, json_t **ret, struct err *e);

#endif
