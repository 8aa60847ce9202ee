/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - read the configuration file into struct config.
 *
 * Sections are [daemon] and one [space NAME] per space. Each mistake is told to the
 * caller's config_complaint with file, line, key, value and what was expected. If there
 * is any, no configuration is returned.
 */
#ifndef CKV_CONFIG_H
#define CKV_CONFIG_H

#include "daemon/core/space.h"
#include "kernels/ckv_method.h"
#include "proto/ckv_attach.h"

#include <stdio.h>
#include <sys/types.h>

#define CONFIG_UNSET	"-"		/* text of a number that is not set ... */
#define CONFIG_NONE	UINT64_MAX	/* ... and its value */
#define CONFIG_SPACES_MAX 64u
#define CONFIG_TEXT_BYTES 256u
#define CONFIG_WHY_BYTES 1024u	/* of a message: a key, its value, what is wrong with it */
#define CONFIG_SPACE_NAME_MAX 40u	/* letters */
#define CONFIG_SLABS_MAX 4096u

#define CONFIG_FIELD_COUNT(name)	uint64_t name;
#define CONFIG_FIELD_BYTES(name)	uint64_t name;
#define CONFIG_FIELD_TIME(name)		uint64_t name;	/* ns */
#define CONFIG_FIELD_FLAG(name)		uint64_t name;
#define CONFIG_FIELD_CHOICE(name)	uint64_t name;	/* index */
#define CONFIG_FIELD_MODE(name)		uint64_t name;
#define CONFIG_FIELD_PERCENT(name)	uint64_t name;
#define CONFIG_FIELD_TEXT(name)		char name[CONFIG_TEXT_BYTES];

struct daemon_params {
#define DAEMON_PARAM(name, type, unit, min, max, init, reload, help) \
	CONFIG_FIELD_##type(name)
#include "daemon/shell/params.def"
};

struct space_params {
#define SPACE_PARAM(name, type, unit, min, max, init, reload, help) \
	CONFIG_FIELD_##type(name)
#include "daemon/shell/params.def"
};

#define CONFIG_ALLOW_MAX 64u

/* An allow list, its names looked up. */
struct config_allow {
	bool all;
	uint32_t n;
	uint32_t id[CONFIG_ALLOW_MAX];
	bool group[CONFIG_ALLOW_MAX];
};

struct config_space {
	char name[CKV_NAME_BYTES];
	struct space_params params;
	/* Computed from them by config_resolve_space(). */
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	const struct policy_ops *policy;
	uint32_t n_pages_max;	/* the quota, in pages */
	enum space_auto automatic;
	struct ckv_method compress; /* zeroed if SPACE_AUTO_NONE */
	uint8_t secret[32];
	struct config_allow allow_read, allow_write;
};

struct config {
	struct daemon_params daemon;
	uint32_t n_spaces;
	struct config_space space[CONFIG_SPACES_MAX];
};

/* Whom to tell a mistake or a change, one text at a time. */
struct config_complaint {
	void (*say)(void *context, const char *text);
	void *context;
};

/*
 * Read `path`. The caller frees *ret_config with config_free(). -EINVAL: `complaint`
 * was told why; -ENOMEM; or the error of opening or reading the file.
 */
int config_read(const char *path, const struct config_complaint *complaint,
		struct config **ret_config);

/* The same from memory; complaints use `name` as the file's name. */
int config_parse(const char *name, const char *text,
		 const struct config_complaint *complaint,
		 struct config **ret_config);
void config_free(struct config *config);	/* NULL is allowed */

/*
 * Copy into `now` the keys of `wanted` that differ and may change while the daemon
 * runs. `changed` is told each of them with old and new value, `refused` each key that
 * needs a restart. Returns how many keys were changed.
 */
int config_reload(struct config *now, const struct config *wanted,
		  const struct config_complaint *changed,
		  const struct config_complaint *refused);

/* Print every key with type, limits, default and help. */
void config_help(FILE *out);
/* Print every key's value, and the numbers computed from them. */
void config_print(const struct config *config, FILE *out);
/* The same as two members of a JSON object, which the caller begins and ends. */
void config_print_json(const struct config *config, FILE *out);

/* How many threads compress, and touch the pools: as configured, else by processors. */
uint32_t config_workers(const struct daemon_params *params);
uint32_t config_touch_threads(const struct daemon_params *params);

/* May a user in these groups attach with this access (enum ckv_access)? */
bool config_allows(const struct config_space *space, uint32_t access,
		   uid_t uid, const gid_t *gids, size_t n_gids);

/* Are both lists empty, so that nobody, root neither, may attach? */
bool config_allows_nobody(const struct config_space *space);

/* ---- shared by config*.c and params.c ---- */

enum param_type {
	PARAM_COUNT, PARAM_BYTES, PARAM_TIME, PARAM_FLAG, PARAM_CHOICE,
	PARAM_MODE, PARAM_PERCENT, PARAM_TEXT,
};

struct param {
	const char *name;
	enum param_type type;
	const char *unit;
	uint64_t min, max;
	const char *init;	/* NULL: required */
	bool reloadable;
	const char *help;
	size_t offset;
};

/* The keys of a section; the last row has no name. */
extern const struct param daemon_param[];
extern const struct param space_param[];

/* Parse a key's value into its field of `params`. -EINVAL, and what was expected. */
int param_set(const struct param *param, void *params, const char *text,
	      char expected[CONFIG_TEXT_BYTES]);
/* Print a key's value as it would stand in the file. */
void param_text(const struct param *param, const void *params,
		char text[CONFIG_TEXT_BYTES]);

/* Print a size as param_text() does. */
void param_bytes_text(uint64_t bytes, char text[CONFIG_TEXT_BYTES]);

/* Print a JSON string, with its quotes. */
void config_json_text(const char *text, FILE *out);
/* Print an error as a JSON object, for a command with --json. */
void config_print_error(const char *text, int exit_status, FILE *out);

/*
 * Compute what follows from the keys, and check that they fit together. -EINVAL, and
 * `text` names the key and says what is wrong with it.
 */
int config_resolve_space(struct config_space *space, char text[CONFIG_WHY_BYTES]);
int config_resolve_compress(struct config_space *space, char text[CONFIG_WHY_BYTES]);
int config_resolve_daemon(const struct daemon_params *params, char text[CONFIG_WHY_BYTES]);

/* Refuse limits under which nothing could work: -EINVAL, and `complaint` is told each. */
int config_judge_limits(const struct config *config,
			const struct config_complaint *complaint);

/* The value that is used for a key that is not set, as it would stand in the file; or "". */
void config_unset_text(const struct config *config, const struct config_space *space,
		       const struct param *param, char text[CONFIG_TEXT_BYTES]);

#endif
