/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - read a configuration file into struct config.
 *
 * inih parses the lines. It gets them one at a time from next_line(), which counts them
 * and so sees sections even if they have no keys.
 */
#include "daemon/shell/config.h"
#include "daemon/shell/sys.h"
#include "kernels/nearest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#define FILE_BYTES_MAX	(1u << 20)
#define LINE_BYTES_MAX	1024u
#define PARAMS_MAX	64

struct section {
	const struct param *param;	/* NULL: before the first section */
	void *params;
	struct config_space *space;	/* NULL: [daemon] */
	uint64_t given;			/* bit i: the section has the key of row i */
	int line;			/* where it begins */
	int key_line[PARAMS_MAX];	/* where the key of row i is given */
	int n_bad;			/* number of complaints before it began */
};

struct reader {
	const char *name;
	const char *text;
	int line;
	int n_bad;
	bool skip;			/* in a section with a bad head: ignore its keys */
	const char *value;		/* value of a line that is too long for inih, or NULL */
	char rest[LINE_BYTES_MAX];	/* memory of `value` */
	const struct config_complaint *complaint;
	struct config *config;
	struct section section;
	bool has_daemon;
};

__attribute__((format(printf, 3, 4)))
static void complain(struct reader *r, int line, const char *format, ...)
{
	char what[2 * LINE_BYTES_MAX], text[sizeof what + PATH_MAX + 16];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (line > 0)
		snprintf(text, sizeof text, "%s:%d: %s", r->name, line, what);
	else
		snprintf(text, sizeof text, "%s: %s", r->name, what);
	r->complaint->say(r->complaint->context, text);
	r->n_bad++;
}

static void complain_of_limits(void *context, const char *text)
{
	complain(context, 0, "%s", text);
}

static void set_defaults(const struct param *param, void *params)
{
	char expected[CONFIG_TEXT_BYTES];

	for (; param->name; param++) {
		int r = 0;

		if (param->init != NULL)
			r = param_set(param, params, param->init, expected);
		assert(r == 0);
	}
}

static const char *section_name(const struct reader *r)
{
	return r->section.space ? r->section.space->name : "daemon";
}

/* Must the section have this key? Opaque pages need no layers, kv_heads and head_dim. */
static bool is_required(const struct section *s, const struct param *param)
{
	static const char *const shape[] = { "layers", "kv_heads", "head_dim" };

	if (param->init != NULL)
		return false;
	for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
		if (strcmp(param->name, shape[i]) == 0)
			return s->space->params.layout + 1 != CKV_LAYOUT_OPAQUE;
	return true;
}

/* The line of the key with which a message begins; the section's if it is not given. */
static int line_of(const struct section *s, const char *text)
{
	size_t n = strcspn(text, " :,");

	for (int i = 0; s->param[i].name; i++)
		if ((s->given >> i & 1) && strlen(s->param[i].name) == n &&
		    memcmp(s->param[i].name, text, n) == 0)
			return s->key_line[i];
	return s->line;
}

/* At the end of a section: are all required keys there, and do they fit together? */
static void end_section(struct reader *r)
{
	struct section *s = &r->section;
	char text[CONFIG_WHY_BYTES];

	if (s->param == NULL)
		return;
	for (int i = 0; s->param[i].name; i++)
		if (is_required(s, &s->param[i]) && (s->given >> i & 1) == 0)
			complain(r, s->line, "space %s: the key %s is missing",
				 section_name(r), s->param[i].name);
	if (r->n_bad == s->n_bad && s->space != NULL &&
	    config_resolve_space(s->space, text) < 0)
		complain(r, line_of(s, text), "space %s: %s", section_name(r), text);
	if (r->n_bad == s->n_bad && s->space == NULL &&
	    config_resolve_daemon(&r->config->daemon, text) < 0)
		complain(r, line_of(s, text), "daemon: %s", text);
	s->param = NULL;
}

static void begin_space(struct reader *r, const char *name)
{
	struct config *config = r->config;
	struct config_space *space;
	size_t bytes = strlen(name);

	r->skip = true;
	if (bytes == 0 || bytes > CONFIG_SPACE_NAME_MAX ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789._-") != bytes) {
		complain(r, r->line, "[space %s]: expected 1 to %u letters, "
			 "digits, dots, dashes or underscores", name,
			 CONFIG_SPACE_NAME_MAX);
		return;
	}
	for (uint32_t i = 0; i < config->n_spaces; i++)
		if (strcmp(config->space[i].name, name) == 0) {
			complain(r, r->line, "[space %s]: this space was "
				 "described already", name);
			return;
		}
	if (config->n_spaces == CONFIG_SPACES_MAX) {
		complain(r, r->line, "[space %s]: expected at most %u spaces",
			 name, CONFIG_SPACES_MAX);
		return;
	}
	space = &config->space[config->n_spaces++];
	memcpy(space->name, name, bytes);
	set_defaults(space_param, &space->params);
	r->skip = false;
	r->section = (struct section){
		.param = space_param, .params = &space->params,
		.space = space, .line = r->line, .n_bad = r->n_bad,
	};
}

static void begin_section(struct reader *r, const char *line)
{
	const char *end = strchr(line, ']');
	char name[128];
	size_t bytes;

	end_section(r);
	bytes = end ? (size_t)(end - line - 1) : 0;
	if (end == NULL || bytes >= sizeof name) {
		complain(r, r->line, "%.*s: expected [daemon] or [space NAME]",
			 (int)strcspn(line, "\r\n"), line);
		r->skip = true;
		return;
	}
	memcpy(name, line + 1, bytes);
	name[bytes] = 0;
	if (strncmp(name, "space", 5) == 0 && (name[5] == ' ' || name[5] == '\t')) {
		begin_space(r, name + 6 + strspn(name + 6, " \t"));
	} else if (strcmp(name, "daemon") == 0 && !r->has_daemon) {
		r->has_daemon = true;
		r->skip = false;
		r->section = (struct section){
			.param = daemon_param, .params = &r->config->daemon,
			.line = r->line, .n_bad = r->n_bad,
		};
	} else {
		r->skip = true;
		complain(r, r->line, r->has_daemon && strcmp(name, "daemon") == 0
			 ? "[%s]: this section was given already"
			 : "[%s]: expected [daemon] or [space NAME]", name);
	}
}

/* Do what inih does with a value: cut a comment after a blank, and blanks around it. */
static const char *trim_value(char *value)
{
	char *end;

	value += strspn(value, " \t");
	for (end = value; *end != 0; end++)
		if (*end == ';' && end > value && isspace((unsigned char)end[-1]))
			break;
	while (end > value && isspace((unsigned char)end[-1]))
		end--;
	*end = 0;
	return value;
}

/*
 * inih takes lines of up to 198 letters, but a value alone may have 255. Of a longer
 * line inih gets the key and an empty value, and the value is kept in r->value. Returns
 * how many bytes of the line inih gets.
 */
static size_t keep_value(struct reader *r, const char *line, size_t bytes,
			 size_t room)
{
	size_t name = strcspn(line, "=:");

	if (line[strspn(line, " \t")] == ';' || line[strspn(line, " \t")] == '#')
		return 0;
	if (bytes >= LINE_BYTES_MAX) {
		complain(r, r->line, "the line is longer than %u letters",
			 LINE_BYTES_MAX - 1);
		return 0;
	}
	if (name >= room) {
		complain(r, r->line, "expected key = value or [section]");
		return 0;
	}
	memcpy(r->rest, line + name + 1, bytes - name - 1);
	r->rest[bytes - name - 1] = 0;
	r->value = trim_value(r->rest);
	return name + 1;
}

/*
 * Complain about a line that is neither a key nor a section, and make it empty for inih,
 * which would tell only the number of the first such line.
 */
static void check_line(struct reader *r, char *line)
{
	char copy[LINE_BYTES_MAX];
	size_t name;

	if (line[0] == 0 || strchr(";#[", line[0]) != NULL)
		return;
	snprintf(copy, sizeof copy, "%s", line);
	trim_value(copy);
	name = strcspn(copy, "=:");
	if (copy[name] != 0 && name > 0)
		return;
	if (copy[0] != 0)
		complain(r, r->line, "'%s': expected key = value or [section]", copy);
	line[0] = 0;
}

/* inih calls this for each line. */
static char *next_line(char *buffer, int room, void *context)
{
	struct reader *r = context;
	size_t bytes = strcspn(r->text, "\n");
	const char *line = r->text;

	if (*line == 0)
		return NULL;
	r->line++;
	r->text += bytes + (line[bytes] == '\n');
	r->value = NULL;
	if (bytes >= (size_t)room - 1)
		bytes = keep_value(r, line, bytes, (size_t)room - 2);
	memcpy(buffer, line, bytes);
	buffer[bytes] = 0;
	/* inih takes an indented line as a second value of the key above: remove blanks. */
	memmove(buffer, buffer + strspn(buffer, " \t"),
		strlen(buffer + strspn(buffer, " \t")) + 1);
	if (buffer[0] == '[')
		begin_section(r, buffer);
	check_line(r, buffer);
	return buffer;
}

static const char *nearest_key(const struct param *param, const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (; param->name; param++) {
		unsigned d = ckv_name_distance(name, param->name);

		if (d < best) {
			best = d;
			nearest = param->name;
		}
	}
	return nearest;
}

static int take_key(void *context, const char *section, const char *name,
		    const char *value)
{
	struct reader *r = context;
	struct section *s = &r->section;
	char expected[CONFIG_TEXT_BYTES];
	const char *near;

	(void)section;
	if (r->value != NULL)
		value = r->value;
	if (r->skip)
		return 1;
	if (s->param == NULL) {
		complain(r, r->line, "%s = %s: expected a section, [daemon] or "
			 "[space NAME], before the first key", name, value);
		return 1;
	}
	for (int i = 0; s->param[i].name; i++) {
		if (strcmp(s->param[i].name, name) != 0)
			continue;
		if (s->given >> i & 1)
			complain(r, r->line, "%s = %s: this key was given "
				 "already in this section", name, value);
		else if (param_set(&s->param[i], s->params, value, expected) < 0)
			complain(r, r->line, "%s = %s: expected %s", name,
				 value, expected);
		s->given |= 1ull << i;
		s->key_line[i] = r->line;
		return 1;
	}
	near = nearest_key(s->param, name);
	complain(r, r->line, "%s = %s: there is no such key in [%s%s]%s%s; "
		 "ckvd --help lists them", name, value, s->space ? "space " : "",
		 section_name(r), near ? ", did you mean " : "", near ? near : "");
	return 1;
}

int config_parse(const char *name, const char *text,
		 const struct config_complaint *complaint,
		 struct config **ret_config)
{
	struct reader reader = { .name = name, .text = text,
				 .complaint = complaint };
	const struct config_complaint limits = { complain_of_limits, &reader };
	int r, bad_line;

	r = sys_alloc(1, sizeof *reader.config, &reader.config);
	if (r < 0)
		return r;
	set_defaults(daemon_param, &reader.config->daemon);
	bad_line = ini_parse_stream(next_line, &reader, take_key, &reader);
	end_section(&reader);
	if (bad_line > 0 && reader.n_bad == 0)
		complain(&reader, bad_line, "expected key = value or [section]");
	if (reader.n_bad == 0 && reader.config->n_spaces == 0)
		complain(&reader, 0, "there is no [space NAME]: nothing to serve");
	if (reader.n_bad == 0)
		(void)config_judge_limits(reader.config, &limits);
	if (bad_line != 0 || reader.n_bad > 0) {
		config_free(reader.config);
		return bad_line == -2 ? -ENOMEM : -EINVAL;
	}
	*ret_config = reader.config;
	return 0;
}

int config_read(const char *path, const struct config_complaint *complaint,
		struct config **ret_config)
{
	char why[CONFIG_WHY_BYTES], *text;
	ssize_t n = 0, bytes = 0;
	int fd, r;

	r = sys_alloc(1, FILE_BYTES_MAX + 1, &text);
	if (r < 0)
		return r;
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0) {
		r = fd;
		goto err_free;
	}
	while (bytes < FILE_BYTES_MAX &&
	       (n = sys_read(fd, text + bytes,
			     FILE_BYTES_MAX - (size_t)bytes)) > 0)
		bytes += n;
	sys_close(fd);
	r = n < 0 ? (int)n : bytes == FILE_BYTES_MAX ? -EFBIG : 0;
	if (r == 0 && memchr(text, 0, (size_t)bytes) != NULL) {
		snprintf(why, sizeof why, "%s: it holds a zero byte: it is not a text, or "
			 "in UTF-16", path);
		complaint->say(complaint->context, why);
		r = -EINVAL;
	}
	if (r == 0)
		r = config_parse(path, text, complaint, ret_config);
err_free:
	sys_free(text);
	return r;
}

void config_free(struct config *config)
{
	sys_free(config);
}
