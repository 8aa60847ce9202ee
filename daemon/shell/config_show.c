/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_show.c - print the configuration and its help, and apply a reload.
 */
#include "daemon/shell/config.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

/* Text in lines of at most `room` letters, each after `indent` blanks. */
static void wrap(FILE *out, const char *text, size_t indent, size_t room)
{
	while (strlen(text) > room) {
		size_t n = room;

		while (n > 0 && text[n] != ' ')
			n--;
		fprintf(out, "%*s%.*s\n", (int)indent, "", (int)n, text);
		text += n + 1;
	}
	fprintf(out, "%*s%s\n", (int)indent, "", text);
}

static void help_section(const struct param *param, FILE *out)
{
	char low[CONFIG_TEXT_BYTES], high[CONFIG_TEXT_BYTES];
	uint64_t bounds[2];

	for (; param->name; param++) {
		struct param at_start = *param;

		at_start.offset = 0;
		bounds[0] = param->min;
		bounds[1] = param->max;
		fprintf(out, "  %-20s ", param->name);
		if (param->init == NULL)
			fprintf(out, "required");
		else if (strcmp(param->init, CONFIG_UNSET) == 0)
			fprintf(out, "unset");
		else
			fprintf(out, "%s", param->init[0] ? param->init :
				"empty");
		if (param->type == PARAM_TEXT) {
			fprintf(out, "; %s", param->unit);
		} else if (param->type == PARAM_FLAG ||
			   param->type == PARAM_CHOICE) {
			fprintf(out, "; %s", param->unit);
		} else {
			param_text(&at_start, &bounds[0], low);
			param_text(&at_start, &bounds[1], high);
			fprintf(out, "; %s to %s", low, high);
			if (param->type != PARAM_TIME && param->type != PARAM_BYTES)
				fprintf(out, " %s", param->unit);
		}
		fprintf(out, "%s\n", param->reloadable ? "; reloadable" : "");
		wrap(out, param->help, 23, 56);
	}
}

void config_help(FILE *out)
{
	fprintf(out, "[daemon]\n");
	help_section(daemon_param, out);
	fprintf(out, "\n[space NAME]\n");
	help_section(space_param, out);
}

/* Has the key no value: not set, or a shape that layout = opaque does not need? */
static bool is_unset(const struct param *param, const void *params)
{
	uint64_t value;

	if (param->type == PARAM_TEXT)
		return false;
	memcpy(&value, (const char *)params + param->offset, sizeof value);
	return value == CONFIG_NONE || (param->init == NULL && value < param->min);
}

/* Print the keys of a space with their values; space NULL: those of [daemon]. */
static void print_section(const struct config *config,
			  const struct config_space *space, FILE *out)
{
	const struct param *param = space ? space_param : daemon_param;
	const void *params = space ? (const void *)&space->params : &config->daemon;
	char text[CONFIG_TEXT_BYTES];

	for (; param->name; param++) {
		if (!is_unset(param, params)) {
			param_text(param, params, text);
			fprintf(out, "%s = %s\n", param->name, text);
			continue;
		}
		config_unset_text(config, space, param, text);
		fprintf(out, "# %s is not set%s%s\n", param->name,
			text[0] ? ": " : "", text);
	}
}

void config_print(const struct config *config, FILE *out)
{
	fprintf(out, "[daemon]\n");
	print_section(config, NULL, out);
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		const struct config_space *s = &config->space[i];
		const struct ckv_pool_shape *p = &s->pool;

		fprintf(out, "\n[space %s]\n", s->name);
		print_section(config, s, out);
		fprintf(out, "# a page is %" PRIu64 " bytes; %u pages hold blocks "
			"(%u may be used), %u views\n", p->page_bytes,
			p->n_block_pages, s->n_pages_max, p->n_view_pages);
		fprintf(out, "# %u slabs of %u pages, %" PRIu64 " KiB each; "
			"policy %s\n", p->n_slabs, p->slab_pages,
			ckv_slab_bytes(p) >> 10, s->policy->name);
		if (s->automatic != SPACE_AUTO_NONE)
			fprintf(out, "# chains get views by %s\n",
				s->compress.text);
	}
}

/* Bytes that are no UTF-8 are shown as Latin-1, so that any reader takes it. */
void config_json_text(const char *text, FILE *out)
{
	json_t *json = json_string(text);
	unsigned char most = json ? 0xff : 0x7f;

	json_decref(json);
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < 0x20 || (unsigned char)*text > most)
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

void config_print_error(const char *text, int exit_status, FILE *out)
{
	fputs("{\"error\": {\"text\": ", out);
	config_json_text(text, out);
	fprintf(out, ", \"exit_status\": %d}}\n", exit_status);
}

/* Numbers are printed in bytes and nanoseconds. */
static void json_section(const struct param *param, const void *params,
			 FILE *out)
{
	char text[CONFIG_TEXT_BYTES];
	uint64_t value;

	for (int i = 0; param[i].name; i++) {
		fprintf(out, "%s\"%s\": ", i ? ", " : "", param[i].name);
		param_text(&param[i], params, text);
		if (param[i].type != PARAM_TEXT)
			memcpy(&value, (const char *)params + param[i].offset,
			       sizeof value);
		else
			value = 0;
		if (param[i].type == PARAM_TEXT || param[i].type == PARAM_CHOICE)
			config_json_text(text, out);
		else if (param[i].type == PARAM_FLAG)
			fputs(value ? "true" : "false", out);
		else if (is_unset(&param[i], params))
			fputs("null", out);
		else
			fprintf(out, "%" PRIu64, value);
	}
}

void config_print_json(const struct config *config, FILE *out)
{
	fputs("\"daemon\": {", out);
	json_section(daemon_param, &config->daemon, out);
	fputs("}, \"spaces\": [", out);
	for (uint32_t i = 0; i < config->n_spaces; i++) {
		const struct config_space *s = &config->space[i];
		const struct ckv_pool_shape *p = &s->pool;

		fprintf(out, "%s{\"name\": \"%s\", ", i ? ", " : "", s->name);
		json_section(space_param, &s->params, out);
		fprintf(out, ", \"page_bytes\": %" PRIu64 ", \"n_block_pages\": "
			"%u, \"n_view_pages\": %u, \"n_slabs\": %u, "
			"\"slab_bytes\": %" PRIu64 ", \"n_pages_max\": %u, "
			"\"policy_name\": \"%s\"}", p->page_bytes,
			p->n_block_pages, p->n_view_pages, p->n_slabs,
			ckv_slab_bytes(p), s->n_pages_max, s->policy->name);
	}
	fputs("]", out);
}

static void shown_text(const struct param *param, const void *params,
		       char text[CONFIG_TEXT_BYTES])
{
	param_text(param, params, text);
	if (is_unset(param, params))
		snprintf(text, CONFIG_TEXT_BYTES, "not set");
	else if (text[0] == 0)
		snprintf(text, CONFIG_TEXT_BYTES, "empty");
}

/* Take each key of a section that differs and is reloadable; tell the others. */
static int reload_section(const char *section, const struct param *param,
			  void *now, const void *wanted,
			  const struct config_complaint *changed,
			  const struct config_complaint *refused)
{
	char before[CONFIG_TEXT_BYTES], after[CONFIG_TEXT_BYTES], text[800];
	int n = 0;

	for (; param->name; param++) {
		size_t bytes = param->type == PARAM_TEXT ? CONFIG_TEXT_BYTES :
			       sizeof(uint64_t);
		char *to = (char *)now + param->offset;
		const char *from = (const char *)wanted + param->offset;

		if (memcmp(to, from, bytes) == 0)
			continue;
		shown_text(param, now, before);
		shown_text(param, wanted, after);
		if (!param->reloadable) {
			snprintf(text, sizeof text, "%s: %s stays %s; %s needs "
				 "a restart", section, param->name, before,
				 after);
			refused->say(refused->context, text);
			continue;
		}
		memcpy(to, from, bytes);
		snprintf(text, sizeof text, "%s: %s is %s, was %s", section,
			 param->name, after, before);
		changed->say(changed->context, text);
		n++;
	}
	return n;
}

static struct config_space *find_space(struct config *config, const char *name)
{
	for (uint32_t i = 0; i < config->n_spaces; i++)
		if (strcmp(config->space[i].name, name) == 0)
			return &config->space[i];
	return NULL;
}

int config_reload(struct config *now, const struct config *wanted,
		  const struct config_complaint *changed,
		  const struct config_complaint *refused)
{
	char text[CONFIG_WHY_BYTES];
	int n;

	n = reload_section("daemon", daemon_param, &now->daemon,
			   &wanted->daemon, changed, refused);
	for (uint32_t i = 0; i < wanted->n_spaces; i++) {
		const struct config_space *w = &wanted->space[i];
		struct config_space *s = find_space(now, w->name);

		if (s == NULL) {
			snprintf(text, sizeof text, "space %s: a new space needs "
				 "a restart", w->name);
			refused->say(refused->context, text);
			continue;
		}
		n += reload_section(w->name, space_param, &s->params, &w->params,
				    changed, refused);
		s->allow_read = w->allow_read;
		s->allow_write = w->allow_write;
		s->automatic = w->automatic;
		s->compress = w->compress;
		/* The quota in pages; a reload does not change the page size. */
		s->n_pages_max = s->pool.n_block_pages;
		if (s->params.quota != 0 &&
		    s->params.quota / s->pool.page_bytes < s->n_pages_max)
			s->n_pages_max = (uint32_t)(s->params.quota /
						    s->pool.page_bytes);
	}
	for (uint32_t i = 0; i < now->n_spaces; i++) {
		if (find_space((struct config *)wanted, now->space[i].name))
			continue;
		snprintf(text, sizeof text, "space %s: it stays; taking it away "
			 "needs a restart", now->space[i].name);
		refused->say(refused->context, text);
	}
	return n;
}
