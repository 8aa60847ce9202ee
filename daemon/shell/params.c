/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.c - parse the value of a configuration key, and print it.
 */
#include "daemon/shell/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct param daemon_param[] = {
#define DAEMON_PARAM(name, type, unit, min, max, init, reload, help)	\
	{ #name, PARAM_##type, unit, min, max, init, reload, help,	\
	  offsetof(struct daemon_params, name) },
#include "daemon/shell/params.def"
	{ .name = NULL },
};

const struct param space_param[] = {
#define SPACE_PARAM(name, type, unit, min, max, init, reload, help)	\
	{ #name, PARAM_##type, unit, min, max, init, reload, help,	\
	  offsetof(struct space_params, name) },
#include "daemon/shell/params.def"
	{ .name = NULL },
};

struct suffix {
	const char *name;
	uint64_t factor;
};

static const struct suffix byte_suffix[] = {
	{ "", 1 }, { "B", 1 }, { "K", 1 << 10 }, { "KiB", 1 << 10 },
	{ "M", 1 << 20 }, { "MiB", 1 << 20 }, { "G", 1 << 30 },
	{ "GiB", 1 << 30 }, { "T", 1ull << 40 }, { "TiB", 1ull << 40 },
	{ NULL, 0 },
};

static const struct suffix time_suffix[] = {
	{ "s", 1000000000 }, { "ms", 1000000 }, { "us", 1000 }, { "ns", 1 },
	{ NULL, 0 },
};

static const struct suffix percent_suffix[] = {
	{ "", 1 }, { "%", 1 }, { NULL, 0 },
};

static const struct suffix no_suffix[] = { { "", 1 }, { NULL, 0 } };

/* Parse digits, perhaps blanks, and one of the suffixes. */
static int number(const char *text, int base, const struct suffix *suffix,
		  uint64_t *ret_value)
{
	char *end;
	uint64_t n;

	if (!isdigit((unsigned char)text[0]))
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, base);
	if (errno != 0)
		return -EINVAL;
	while (*end == ' ' || *end == '\t')
		end++;
	if (strcmp(text, "0") == 0) {
		*ret_value = 0;
		return 0;
	}
	for (; suffix->name; suffix++) {
		if (strcmp(suffix->name, end) != 0)
			continue;
		if (n > UINT64_MAX / suffix->factor)
			return -EINVAL;
		*ret_value = n * suffix->factor;
		return 0;
	}
	return -EINVAL;
}

/* The index of `text` in a list like "a|b|c". */
static int choice(const char *choices, const char *text, uint64_t *ret_value)
{
	size_t bytes = strlen(text);
	uint64_t i = 0;

	for (const char *p = choices; bytes > 0; i++) {
		size_t n = strcspn(p, "|");

		if (n == bytes && memcmp(p, text, n) == 0) {
			*ret_value = i;
			return 0;
		}
		if (p[n] == 0)
			break;
		p += n + 1;
	}
	return -EINVAL;
}

static int flag(const char *text, uint64_t *ret_value)
{
	if (choice("no|yes", text, ret_value) == 0 ||
	    choice("off|on", text, ret_value) == 0 ||
	    choice("false|true", text, ret_value) == 0)
		return 0;
	return -EINVAL;
}

static void number_text(enum param_type type, uint64_t value,
			char text[CONFIG_TEXT_BYTES])
{
	static const char *const bytes[] = { "", "KiB", "MiB", "GiB", "TiB" };
	static const char *const times[] = { "ns", "us", "ms", "s" };
	uint64_t unit = type == PARAM_BYTES ? 1024 : 1000;
	size_t i = 0, last = type == PARAM_BYTES ? 4 : 3;

	if (type == PARAM_MODE) {
		snprintf(text, CONFIG_TEXT_BYTES, "%#" PRIo64, value);
		return;
	}
	if (type != PARAM_BYTES && type != PARAM_TIME) {
		snprintf(text, CONFIG_TEXT_BYTES, "%" PRIu64, value);
		return;
	}
	while (i < last && value != 0 && value % unit == 0) {
		value /= unit;
		i++;
	}
	if (value == 0)
		snprintf(text, CONFIG_TEXT_BYTES, "0");
	else
		snprintf(text, CONFIG_TEXT_BYTES, "%" PRIu64 "%s", value,
			 type == PARAM_BYTES ? bytes[i] : times[i]);
}

void param_bytes_text(uint64_t bytes, char text[CONFIG_TEXT_BYTES])
{
	number_text(PARAM_BYTES, bytes, text);
}

static int parse(const struct param *param, const char *text,
		 uint64_t *ret_value)
{
	switch (param->type) {
	case PARAM_BYTES:
		return number(text, 10, byte_suffix, ret_value);
	case PARAM_TIME:
		return number(text, 10, time_suffix, ret_value);
	case PARAM_FLAG:
		return flag(text, ret_value);
	case PARAM_CHOICE:
		return choice(param->unit, text, ret_value);
	case PARAM_PERCENT:
		return number(text, 10, percent_suffix, ret_value);
	case PARAM_MODE:
		return number(text, 8, no_suffix, ret_value);
	default:
		return number(text, 10, no_suffix, ret_value);
	}
}

static void expect(const struct param *param, char expected[CONFIG_TEXT_BYTES])
{
	static const char *const what[] = {
		"a number of ", "a size in bytes, or with K, M, G, T, KiB, MiB, "
		"GiB or TiB", "a time with ns, us, ms or s", "",
		"one of ", "an octal mode", "a number in ", "",
	};
	char min[CONFIG_TEXT_BYTES], max[CONFIG_TEXT_BYTES];

	if (param->type == PARAM_TEXT) {
		snprintf(expected, CONFIG_TEXT_BYTES,
			 "%" PRIu64 " to %" PRIu64 " letters", param->min,
			 param->max);
		return;
	}
	if (param->type == PARAM_FLAG || param->type == PARAM_CHOICE) {
		snprintf(expected, CONFIG_TEXT_BYTES, "%s%s",
			 what[param->type], param->unit);
		return;
	}
	number_text(param->type, param->min, min);
	number_text(param->type, param->max, max);
	snprintf(expected, CONFIG_TEXT_BYTES, "%s%s, %.60s to %.60s",
		 what[param->type],
		 param->type == PARAM_TIME || param->type == PARAM_MODE ||
		 param->type == PARAM_BYTES ? "" : param->unit, min, max);
}

int param_set(const struct param *param, void *params, const char *text,
	      char expected[CONFIG_TEXT_BYTES])
{
	char *place = (char *)params + param->offset;
	uint64_t value = CONFIG_NONE;

	if (param->type == PARAM_TEXT) {
		size_t bytes = strlen(text);

		if (bytes < param->min || bytes > param->max) {
			expect(param, expected);
			return -EINVAL;
		}
		memset(place, 0, CONFIG_TEXT_BYTES);
		memcpy(place, text, bytes);
		return 0;
	}
	if (strcmp(text, CONFIG_UNSET) != 0 &&
	    (parse(param, text, &value) < 0 || value < param->min ||
	     value > param->max)) {
		expect(param, expected);
		return -EINVAL;
	}
	if (value == CONFIG_NONE &&
	    (param->init == NULL || strcmp(param->init, CONFIG_UNSET) != 0)) {
		expect(param, expected);
		return -EINVAL;
	}
	memcpy(place, &value, sizeof value);
	return 0;
}

void param_text(const struct param *param, const void *params,
		char text[CONFIG_TEXT_BYTES])
{
	const char *place = (const char *)params + param->offset;
	uint64_t value;

	if (param->type == PARAM_TEXT) {
		snprintf(text, CONFIG_TEXT_BYTES, "%s", place);
		return;
	}
	memcpy(&value, place, sizeof value);
	if (value == CONFIG_NONE) {
		snprintf(text, CONFIG_TEXT_BYTES, "%s", CONFIG_UNSET);
	} else if (param->type == PARAM_FLAG) {
		snprintf(text, CONFIG_TEXT_BYTES, "%s", value ? "yes" : "no");
	} else if (param->type == PARAM_CHOICE) {
		const char *p = param->unit;

		while (value-- > 0)
			p += strcspn(p, "|") + 1;
		snprintf(text, CONFIG_TEXT_BYTES, "%.*s",
			 (int)strcspn(p, "|"), p);
	} else {
		number_text(param->type, value, text);
	}
}
