/*
 * main.c - ckv-engine: a small inference engine that keeps its keys and values
 * in ckv pages.
 */
#include <stdio.h>
#include <stdlib.h>

#include "client/examples/engine/ask.h"
#include "client/examples/engine/check.h"
#include "client/examples/engine/options.h"

static int run(const struct options *o)
{
	struct model m;
	struct err e;
	int r;

	if (model_load(o->model, &m, &e) < 0) {
		fprintf(stderr, "ckv-engine: %s\n", e.text);
		return EXIT_FAILURE;
	}
	r = o->expect != NULL ? check_run(o, &m, &e) : ask_run(o, &m, &e);
	if (r < 0)
		fprintf(stderr, "ckv-engine: %s\n", e.text);
	model_free(&m);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct options o;
	int r = options_parse(argc, argv, &o);

	if (r != 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	return run(&o);
}
