/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - a configuration from a string, and what is said of it.
 */
#ifndef CKV_TESTS_CONFIG_H
#define CKV_TESTS_CONFIG_H

#include "daemon/shell/config.h"

#include <string.h>

/* A space that is right, and one whose blocks have no layers. */
#define GOOD	"[space a]\nmodel = m\nlayers = 2\nkv_heads = 4\nhead_dim = 8\n" \
		"pool = 64M\n"
#define OPAQUE	"[space a]\nmodel = m\nlayout = opaque\npool = 1M\n"

static char said[4096];	/* a line for each complaint of the last parse() */

static inline void collect(void *context, const char *text)
{
	(void)context;
	strncat(said, text, sizeof said - strlen(said) - 2);
	strcat(said, "\n");
}

static const struct config_complaint complaint = { collect, NULL };

static inline int parse(const char *text, struct config **ret)
{
	said[0] = 0;
	return config_parse("f.conf", text, &complaint, ret);
}

#endif
