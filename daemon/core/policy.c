/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - the list of eviction policies; the first is the default.
 */
#include "daemon/core/policy.h"

static const struct policy_ops *const policies[] = {
	&policy_slru,
	&policy_lru,
};

const struct policy_ops *policy_at(uint32_t i)
{
	return i < sizeof policies / sizeof policies[0] ? policies[i] : NULL;
}

const struct policy_ops *policy_find(const char *name)
{
	const struct policy_ops *ops;

	for (uint32_t i = 0; (ops = policy_at(i)) != NULL; i++)
		if (strcmp(ops->name, name) == 0)
			return ops;
	return NULL;
}
