/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - ckv-engine: a small inference engine that keeps its keys and values
 * in ckv pages.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/engine/ask.h"
#include "client/examples/engine/check.h"
#include "client/examples/engine/demo.h"
#include "client/examples/engine/options.h"
#include "client/examples/engine/share.h"

/* A text is answered without the daemon too; a check through it needs it. */
static bool can_do_without(const struct options *o, int r)
{
	return (r == -ENOENT || r == -ECONNREFUSED) && o->expect == NULL &&
	       !o->make_views && o->stand_in == STAND_NONE;
}

static int run_model(const struct options *o, const struct model *m,
		     struct err *e)
{
	struct share share, *with = NULL;
	int r;

	if (o->cached) {
		r = share_open(&share, o, m, e);
		if (r < 0 && !can_do_without(o, r))
			return r;
		if (r < 0)
			fprintf(stderr, "ckv-engine: %s; going on without the "
				"cache\n", e->text);
		else
			with = &share;
	}
	r = o->expect != NULL ? check_run(o, m, with, e) :
				ask_run(o, m, with, e);
	if (with != NULL)
		share_close(with);
	return r;
}

static int run(const struct options *o)
{
	struct model m;
	struct err e;
	int r = model_load(o->model, &m, &e);

	if (r == 0) {
		r = run_model(o, &m, &e);
		model_free(&m);
	}
	if (r < 0)
		fprintf(stderr, "ckv-engine: %s\n", e.text);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The exit status: `r`, unless what was printed did not get out. */
static int written(int r)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return r;
	fputs("ckv-engine: the output could not be written\n", stderr);
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options o;
	int r;

	if (argc > 1 && strcmp(argv[1], "--demo") == 0)
		return written(demo_main(argc - 1, argv + 1));
	r = options_parse(argc, argv, &o);
	if (r != 0)
		return written(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
	return written(run(&o));
}
