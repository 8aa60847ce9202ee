/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.c - numbers for people, names made safe, JSON to stdout.
 */
#include "client/cli/text.h"
#include "client/ckv.h"
#include "client/cli/cli.h"

#include <inttypes.h>
#include <string.h>

char *text_bytes(char *out, uint64_t bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes;
	int i = 0;

	while (n >= 1024 && i < 4) {
		n /= 1024;
		i++;
	}
	snprintf(out, TEXT_SHORT, i && n < 100 ? "%.1f %s" : "%.0f %s", n, unit[i]);
	return out;
}

char *text_age(char *out, uint64_t s)
{
	unsigned long long d = s / 86400, h = s / 3600 % 24, m = s / 60 % 60;

	if (d)
		snprintf(out, TEXT_SHORT, "%llud %lluh", d, h);
	else if (h)
		snprintf(out, TEXT_SHORT, "%lluh %llum", h, m);
	else if (m)
		snprintf(out, TEXT_SHORT, "%llum %llus", m,
			 (unsigned long long)s % 60);
	else
		snprintf(out, TEXT_SHORT, "%llus", (unsigned long long)s);
	return out;
}

char *text_percent(char *out, uint64_t part, uint64_t whole)
{
	if (whole == 0)
		snprintf(out, TEXT_SHORT, "-");
	else
		snprintf(out, TEXT_SHORT, "%.1f%%",
			 100 * (double)part / (double)whole);
	return out;
}

char *text_rate(char *out, double n)
{
	if (n >= 1e9)
		snprintf(out, TEXT_SHORT, "%.1fG", n / 1e9);
	else if (n >= 1e6)
		snprintf(out, TEXT_SHORT, "%.1fM", n / 1e6);
	else if (n >= 1e4)
		snprintf(out, TEXT_SHORT, "%.1fk", n / 1e3);
	else
		snprintf(out, TEXT_SHORT, n > 0 && n < 10 ? "%.1f" : "%.0f", n);
	return out;
}

char *text_ns(char *out, double ns)
{
	if (ns >= 1e9)
		snprintf(out, TEXT_SHORT, "%.2f s", ns / 1e9);
	else if (ns >= 1e6)
		snprintf(out, TEXT_SHORT, "%.2f ms", ns / 1e6);
	else if (ns >= 1e3)
		snprintf(out, TEXT_SHORT, "%.2f us", ns / 1e3);
	else
		snprintf(out, TEXT_SHORT, "%.0f ns", ns);
	return out;
}

char *text_count(char *out, uint64_t n, const char *one)
{
	snprintf(out, TEXT_SHORT, "%" PRIu64 " %s%s", n, one, n == 1 ? "" : "s");
	return out;
}

char *text_hex(char *out, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	out[2 * n] = '\0';
	return out;
}

void text_clean(char *out, const char *name, size_t bytes)
{
	size_t i;

	for (i = 0; i + 1 < bytes && name[i]; i++)
		out[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
	memset(out + i, 0, bytes - i);
}

char *text_error(char *out, const struct ckv *ckv, int error)
{
	const char *means = ckv_strerror(error), *why = ckv_why(ckv);
	bool more = *why && strcmp(why, means) != 0;

	snprintf(out, TEXT_ERROR, "%s%s%s", means, more ? ": " : "", more ? why : "");
	return out;
}

int text_json(json_t *json)
{
	int r;

	if (json == NULL)
		return cli_fail("out of memory");
	cli_answered();
	r = json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
	return r < 0 ? cli_fail("the output could not be written") : CLI_OK;
}
