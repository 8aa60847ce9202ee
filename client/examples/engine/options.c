/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h. */
#include "client/examples/engine/options.h"

#include "client/ckv.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_S		10u
#define JOIN_UNSET	UINT32_MAX

static const char help[] =
"usage: ckv-engine --model DIR --prompt WORDS [--ask WORDS]... [--space NAME]\n"
"       ckv-engine --model DIR --expect FILE [--space NAME]\n"
"       ckv-engine --demo [--help]\n"
"\n"
"A small inference engine, to show how one uses ckv. Keys and values live in\n"
"pages of the layout that ckv uses, and attention reads them where they lie:\n"
"in memory of its own or, with --space or --socket, in the daemon's cache.\n"
"\n"
"It computes Llama models (model_type llama, no scaled RoPE, no biases, not\n"
"quantised), on the CPU. DIR has, as Hugging Face names them,\n"
"\n"
"  config.json         refused if it asks for what is not computed here\n"
"  model.safetensors   or model.safetensors.index.json and the files it names:\n"
"                      F32, F16 or BF16\n"
"  vocab.txt           the words, one a line, that of id 0 first; you make it\n"
"                      yourself, as tokenizers are not read\n"
"\n"
"  --model DIR       the model's folder; its last part is the model's name\n"
"  --prompt WORDS    the text to read, words separated by blanks\n"
"  --ask WORDS       a question to read after it; may be given many times, each\n"
"                    is asked of the text alone\n"
"  --words N         the most words of an answer (default 8)\n"
"  --stop WORD       the word that ends an answer (default \".\", if there is one)\n"
"  --block N         tokens in a page (default 16)\n"
"  --type TYPE       f32 (default) or bf16: how keys and values are stored\n"
"  --expect FILE     compare logits with those in FILE; exits with 1 when one is\n"
"                    further away than FILE's rule allows. With a cache each\n"
"                    prompt is read twice, and what the second time finds in it\n"
"                    must give the same bits\n"
"  --portable        do not use AVX2\n"
"  --json            print one JSON object\n"
"  --help            print this\n"
"\n"
"With the shared cache:\n"
"  --space NAME      the space of this model in the daemon's configuration\n"
"                    (default: default)\n"
"  --socket PATH     the daemon's socket (default: $CKV_SOCKET, else\n"
"                    /run/ckv/ckvd.sock)\n"
"  --verify          check the bytes of pages found against their checksums\n"
"  --join SECONDS    wait so long, at most, for blocks that another engine is just\n"
"                    computing (default 10); 0: compute them, too\n"
"  --then WORDS      afterwards read this text too\n"
"  --pause N         ... and stop when N blocks of it are written, with the pages\n"
"                    for the others borrowed, until killed\n"
"  --make-views      have views made of the text (of text and question, with\n"
"                    --ask), one for each --keep and --method\n"
"  --keep P/Q        the share of tokens that a ChunkKV view keeps\n"
"  --method TEXT     any method that \"ckv methods\" lists, but for h2o: sums of\n"
"                    attention are not kept here; of both at most 8\n"
"  --window N        the tokens at the end whose queries choose (default 32); as\n"
"                    many as the method's window=, and 1 for tova\n"
"  --view WHAT       answer from the view of the text (WHAT: text), or of text\n"
"                    and question (WHAT: asked)\n"
"  --first-last N    answer from the first 4 and the last N - 4 tokens\n"
"\n"
"The source has a model in tests/data/tiny-recall, and installs it in\n"
"share/ckv/tiny-recall.\n";

enum {
	OPT_MODEL = 1, OPT_EXPECT, OPT_PROMPT, OPT_ASK, OPT_WORDS, OPT_STOP,
	OPT_BLOCK, OPT_TYPE, OPT_PORTABLE, OPT_JSON, OPT_HELP, OPT_SOCKET,
	OPT_SPACE, OPT_VERIFY, OPT_JOIN, OPT_THEN, OPT_PAUSE, OPT_MAKE_VIEWS,
	OPT_KEEP, OPT_METHOD, OPT_WINDOW, OPT_VIEW, OPT_FIRST_LAST,
};

static const struct option table[] = {
	{ "model",      required_argument, NULL, OPT_MODEL },
	{ "expect",     required_argument, NULL, OPT_EXPECT },
	{ "prompt",     required_argument, NULL, OPT_PROMPT },
	{ "ask",        required_argument, NULL, OPT_ASK },
	{ "words",      required_argument, NULL, OPT_WORDS },
	{ "stop",       required_argument, NULL, OPT_STOP },
	{ "block",      required_argument, NULL, OPT_BLOCK },
	{ "type",       required_argument, NULL, OPT_TYPE },
	{ "portable",   no_argument,       NULL, OPT_PORTABLE },
	{ "json",       no_argument,       NULL, OPT_JSON },
	{ "help",       no_argument,       NULL, OPT_HELP },
	{ "socket",     required_argument, NULL, OPT_SOCKET },
	{ "space",      required_argument, NULL, OPT_SPACE },
	{ "verify",     no_argument,       NULL, OPT_VERIFY },
	{ "join",       required_argument, NULL, OPT_JOIN },
	{ "then",       required_argument, NULL, OPT_THEN },
	{ "pause",      required_argument, NULL, OPT_PAUSE },
	{ "make-views", no_argument,       NULL, OPT_MAKE_VIEWS },
	{ "keep",       required_argument, NULL, OPT_KEEP },
	{ "method",     required_argument, NULL, OPT_METHOD },
	{ "window",     required_argument, NULL, OPT_WINDOW },
	{ "view",       required_argument, NULL, OPT_VIEW },
	{ "first-last", required_argument, NULL, OPT_FIRST_LAST },
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

static int add_view(struct options *o, const char *text, bool method)
{
	if (o->n_keeps == OPTIONS_KEEPS_MAX)
		return refuse("at most %d views", OPTIONS_KEEPS_MAX);
	o->keep[o->n_keeps] = text;
	o->keep_method[o->n_keeps++] = method;
	return 0;
}

static int add_keep(struct options *o, const char *text)
{
	unsigned p, q;
	char end;

	if (sscanf(text, "%u/%u%c", &p, &q, &end) != 2 || p == 0 || p > q)
		return refuse("--keep takes a share such as 1/4, not \"%s\"",
			      text);
	return add_view(o, text, false);
}

static int add_method(struct options *o, const char *text)
{
	char reason[CKV_REASON_SIZE];

	if (ckv_method_check(text, NULL, reason) < 0)
		return refuse("--method: %s", reason);
	return add_view(o, text, true);
}

static int read_view(const char *text, enum stand_in *ret)
{
	if (strcmp(text, "text") == 0)
		*ret = STAND_VIEW_TEXT;
	else if (strcmp(text, "asked") == 0)
		*ret = STAND_VIEW_ASKED;
	else
		return refuse("--view takes text or asked, not \"%s\"", text);
	return 0;
}

static int take_cache(struct options *o, int option, const char *text)
{
	switch (option) {
	case OPT_SOCKET:
		o->socket = text;
		o->cached = true;
		return 0;
	case OPT_SPACE:
		o->space = text;
		o->cached = true;
		return 0;
	case OPT_VERIFY:
		o->verify = true;
		return 0;
	case OPT_JOIN:
		return read_number("join", text, 0, 3600, &o->join_s);
	case OPT_THEN:
		o->then = text;
		return 0;
	case OPT_PAUSE:
		return read_number("pause", text, 1, 4096, &o->pause_blocks);
	case OPT_MAKE_VIEWS:
		o->make_views = true;
		return 0;
	case OPT_KEEP:
		return add_keep(o, text);
	case OPT_METHOD:
		return add_method(o, text);
	case OPT_WINDOW:
		return read_number("window", text, 1, 1024, &o->window);
	case OPT_VIEW:
		return read_view(text, &o->stand_in);
	case OPT_FIRST_LAST:
		o->stand_in = STAND_FIRST_LAST;
		return read_number("first-last", text, 4, 1 << 22,
				   &o->n_first_last);
	default:
		return -EINVAL;		/* getopt_long() said why */
	}
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
		return take_cache(o, option, text);
	}
}

static int judge_cache(const struct options *o)
{
	bool view = o->stand_in == STAND_VIEW_TEXT ||
		    o->stand_in == STAND_VIEW_ASKED;

	if (!o->cached && (o->make_views || o->stand_in != STAND_NONE ||
			   o->pause_blocks != 0 || o->verify ||
			   o->join_s != JOIN_UNSET))
		return refuse("views, --verify, --join and --pause need --space "
			      "or --socket");
	if (o->make_views && o->n_keeps == 0)
		return refuse("--make-views needs --keep or --method");
	if (view && (o->n_keeps != 1 || o->n_asks == 0))
		return refuse("--view needs one --keep or --method, and --ask");
	if (o->stand_in == STAND_FIRST_LAST && o->n_asks == 0)
		return refuse("--first-last needs --ask");
	if (o->make_views && o->stand_in != STAND_NONE)
		return refuse("views are made by one run and read by another");
	return 0;
}

static int judge(const struct options *o)
{
	if (o->model == NULL)
		return refuse("--model is missing; --help lists the options");
	if ((o->expect != NULL) == (o->prompt != NULL))
		return refuse("give either --prompt or --expect");
	if (o->expect != NULL && (o->n_asks > 0 || o->then != NULL ||
				  o->make_views || o->stand_in != STAND_NONE))
		return refuse("--expect goes with --space, --socket, --verify "
			      "and --json only");
	return judge_cache(o);
}

int options_parse(int argc, char **argv, struct options *ret)
{
	struct options o = { .n_words = 8, .block_tokens = 16,
			     .dtype = VEC_F32, .space = "default",
			     .window = 32, .join_s = JOIN_UNSET };
	int option, r;

	if (argc == 1) {
		fputs(help, stderr);
		return -EINVAL;
	}
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
	if (o.join_s == JOIN_UNSET)
		o.join_s = JOIN_S;
	if (r == 0)
		*ret = o;
	return r;
}
