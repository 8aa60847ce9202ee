/* options.c - see options.h. */
#include "client/examples/engine/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
"usage: ckv-engine --model DIR --expect FILE\n"
"       ckv-engine --model DIR (--prompt WORDS | --document FILE) [--ask WORDS]...\n"
"\n"
"A small inference engine for Llama-architecture models (config.json, vocab.txt\n"
"and one model.safetensors in DIR). Keys and values live in pages of the layout\n"
"that ckv uses, and attention reads them where they lie.\n"
"\n"
"  --model DIR       the model's folder\n"
"  --expect FILE     compare logits and answers with those in FILE; exits with 1\n"
"                    when one is further away than FILE's rule allows\n"
"  --prompt WORDS    the text to read, words separated by blanks\n"
"  --document FILE   the same, from a file\n"
"  --ask WORDS       a question to read after it; may be given many times, each\n"
"                    is asked of the text alone\n"
"  --words N         the most words of an answer (default 8)\n"
"  --stop WORD       the word that ends an answer (default .)\n"
"  --block N         tokens in a page (default 16)\n"
"  --type TYPE       f32 (default) or bf16: how keys and values are stored\n"
"  --portable        do not use AVX2\n"
"  --json            print one JSON object\n"
"  --help            print this\n";

enum {
	OPT_MODEL = 1, OPT_EXPECT, OPT_PROMPT, OPT_DOCUMENT, OPT_ASK,
	OPT_WORDS, OPT_STOP, OPT_BLOCK, OPT_TYPE, OPT_PORTABLE, OPT_JSON,
	OPT_HELP,
};

static const struct option table[] = {
	{ "model",    required_argument, NULL, OPT_MODEL },
	{ "expect",   required_argument, NULL, OPT_EXPECT },
	{ "prompt",   required_argument, NULL, OPT_PROMPT },
	{ "document", required_argument, NULL, OPT_DOCUMENT },
	{ "ask",      required_argument, NULL, OPT_ASK },
	{ "words",    required_argument, NULL, OPT_WORDS },
	{ "stop",     required_argument, NULL, OPT_STOP },
	{ "block",    required_argument, NULL, OPT_BLOCK },
	{ "type",     required_argument, NULL, OPT_TYPE },
	{ "portable", no_argument,       NULL, OPT_PORTABLE },
	{ "json",     no_argument,       NULL, OPT_JSON },
	{ "help",     no_argument,       NULL, OPT_HELP },
	{ 0 },
};

__attribute__((format(printf, 1, 2)))
static int refuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("ckv-engine: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	return -EINVAL;
}

static int read_number(const char *name, const char *text, uint32_t min,
		       uint32_t max, uint32_t *ret)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' ||
	    n < min || n > max)
		return refuse("--%s takes a number from %u to %u, not \"%s\"",
			      name, min, max, text);
	*ret = (uint32_t)n;
	return 0;
}

static int read_type(const char *text, enum vec_dtype *ret)
{
	if (strcmp(text, "f32") == 0)
		*ret = VEC_F32;
	else if (strcmp(text, "bf16") == 0)
		*ret = VEC_BF16;
	else
		return refuse("--type takes f32 or bf16, not \"%s\"", text);
	return 0;
}

static int add_ask(struct options *o, const char *text)
{
	if (o->n_asks == OPTIONS_ASKS_MAX)
		return refuse("at most %d questions", OPTIONS_ASKS_MAX);
	o->ask[o->n_asks++] = text;
	return 0;
}

static int take(struct options *o, int option, const char *text)
{
	switch (option) {
	case OPT_MODEL:
		o->model = text;
		return 0;
	case OPT_EXPECT:
		o->expect = text;
		return 0;
	case OPT_PROMPT:
		o->prompt = text;
		return 0;
	case OPT_DOCUMENT:
		o->document = text;
		return 0;
	case OPT_STOP:
		o->stop = text;
		return 0;
	case OPT_ASK:
		return add_ask(o, text);
	case OPT_WORDS:
		return read_number("words", text, 1, 4096, &o->n_words);
	case OPT_BLOCK:
		return read_number("block", text, 1, 4096, &o->block_tokens);
	case OPT_TYPE:
		return read_type(text, &o->dtype);
	case OPT_PORTABLE:
		o->portable = true;
		return 0;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		return -EINVAL;		/* getopt_long() said why */
	}
}

static int judge(const struct options *o)
{
	int n_tasks = (o->expect != NULL) + (o->prompt != NULL) +
		      (o->document != NULL);

	if (o->model == NULL)
		return refuse("--model is missing; --help lists the options");
	if (n_tasks != 1)
		return refuse("give one of --expect, --prompt and --document");
	if (o->expect != NULL && o->n_asks > 0)
		return refuse("--ask does not go with --expect");
	return 0;
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = { .stop = ".", .n_words = 8, .block_tokens = 16,
			     .dtype = VEC_F32 };
	int option, r;

	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (option == OPT_HELP) {
			fputs(help, stdout);
			return 1;
		}
		r = take(&o, option, optarg);
		if (r < 0)
			return r;
	}
	if (optind < argc)
		return refuse("what is \"%s\"? --help lists the options",
			      argv[optind]);
	r = judge(&o);
	if (r == 0)
		*ret = o;
	return r;
}
