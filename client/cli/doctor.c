/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `ckv doctor`: what this machine lacks, what that costs, what to do.
 *
 * Each finding is tried out rather than guessed from a version number. 'fail' is
 * kept for what ckv cannot run without.
 */
#include "client/cli/doctor.h"
#include "client/cli/cli.h"
#include "client/cli/observe.h"
#include "client/cli/text.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

static const char *const level_names[] = { "ok", "warn", "fail" };

void doctor_add(struct doctor *doctor, enum doctor_level level,
		const char *name, const char *cost, const char *todo,
		const char *format, ...)
{
	struct finding *f = &doctor->finding[doctor->n];
	va_list ap;

	assert(doctor->n < DOCTOR_MAX);
	f->level = level;
	f->name = name;
	f->cost = level == DOCTOR_OK ? NULL : cost;
	f->todo = level == DOCTOR_OK ? NULL : todo;
	va_start(ap, format);
	vsnprintf(f->what, sizeof f->what, format, ap);
	va_end(ap);
	doctor->n++;
}

const char *doctor_read(const char *path, char *out, size_t bytes)
{
	FILE *file = fopen(path, "re");

	out[0] = '\0';
	if (file == NULL)
		return out;
	if (fgets(out, (int)bytes, file) == NULL)
		out[0] = '\0';
	fclose(file);
	out[strcspn(out, "\n")] = '\0';
	return out;
}

void doctor_daemon(struct doctor *doctor, const char *socket)
{
	struct observer o;
	int r = observer_open(socket, &o);

	if (r < 0) {
		doctor_add(doctor, DOCTOR_WARN, "daemon",
			   r == -EPROTONOSUPPORT ?
			   "this ckv cannot show anything about it" :
			   "engines run uncached until it is there",
			   r == -EACCES ? "be let in, as said above" :
			   r == -ETIMEDOUT ? "let it go on ('kill -CONT PID'), or end it" :
			   r == -EPROTONOSUPPORT ?
			   "install ckv and ckvd of one version, restart ckvd" :
			   "start ckvd, or say --socket PATH", "%s", o.why);
		return;
	}
	doctor_add(doctor, strncmp(o.welcome.version, CKV_VERSION,
				   sizeof o.welcome.version) == 0 ?
		   DOCTOR_OK : DOCTOR_WARN, "daemon",
		   "protocol and layout agree, so it works; messages may differ",
		   "install ckv and ckvd of one version, restart ckvd",
		   "ckvd %.20s answers at %s, this is ckv %s",
		   o.welcome.version, socket, CKV_VERSION);
	observer_close(&o);
}

size_t doctor_count(const struct doctor *doctor, enum doctor_level level)
{
	size_t n = 0;

	for (size_t i = 0; i < doctor->n; i++)
		n += doctor->finding[i].level == level;
	return n;
}

void doctor_print(FILE *file, const struct doctor *doctor)
{
	char warnings[TEXT_SHORT];

	for (size_t i = 0; i < doctor->n; i++) {
		const struct finding *f = &doctor->finding[i];

		fprintf(file, "%-4s  %-14s %s\n", level_names[f->level], f->name,
			f->what);
		if (f->cost)
			fprintf(file, "%21scosts: %s\n", "", f->cost);
		if (f->todo)
			fprintf(file, "%21sto do: %s\n", "", f->todo);
	}
	fprintf(file, "\n%zu ok, %s, %zu failed\n",
		doctor_count(doctor, DOCTOR_OK),
		text_count(warnings, doctor_count(doctor, DOCTOR_WARN), "warning"),
		doctor_count(doctor, DOCTOR_FAIL));
}

json_t *doctor_json(const struct doctor *doctor)
{
	json_t *json = json_array();

	for (size_t i = 0; i < doctor->n; i++) {
		const struct finding *f = &doctor->finding[i];

		json_array_append_new(json, json_pack(
			"{s:s, s:s, s:s, s:s?, s:s?}", "name", f->name,
			"level", level_names[f->level], "what", f->what,
			"costs", f->cost, "to_do", f->todo));
	}
	return json;
}

int cmd_doctor(const struct cli *cli)
{
	struct doctor doctor = { .n = 0 };
	char path[PATH_MAX];

	doctor_kernel(&doctor);
	doctor_memory(&doctor);
	doctor_pools(&doctor, cli_ckvd(cli, path, sizeof path), cli->config);
	doctor_processor(&doctor);
	doctor_gpu(&doctor, NULL, "");
	doctor_daemon(&doctor, cli->socket);
	if (!cli->json)
		doctor_print(stdout, &doctor);
	else if (text_json(doctor_json(&doctor)) != CLI_OK)
		return CLI_FAILED;
	return doctor_count(&doctor, DOCTOR_FAIL) ? CLI_FAILED : CLI_OK;
}
