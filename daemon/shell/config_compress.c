/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_compress.c - judge a space's method for automatic views: can the daemon run it
 * without an engine's inputs, does it fit the geometry, does it reach the floor?
 */
#include "daemon/shell/compress.h"
#include "daemon/shell/config.h"
#include "daemon/shell/floor.h"

#include <errno.h>
#include <string.h>

/* List the selections that need no inputs. */
static void list_alone(char *text, size_t room)
{
	const struct ckv_method_info *info;
	size_t n = 0;

	for (uint32_t i = 0; (info = ckv_method_at(i)) != NULL && n < room; i++)
		if (strcmp(info->stage, "selection") == 0 &&
		    strcmp(info->needs, "nothing") == 0)
			n += (size_t)snprintf(text + n, room - n, "%s%s",
					      n ? ", " : "", info->name);
}

/* The inputs that a method needs, for a message; NULL: none. */
static const char *other_need(const struct ckv_method *m)
{
	unsigned needs = ckv_selection_needs(&m->select);

	return needs & CKV_NEED_QUERIES ? "queries" :
	       needs & CKV_NEED_SUMS ? "column sums of attention" : NULL;
}

/* The longest chain that the space can hold. A method that does not fit it fits none. */
static int longest(const struct config_space *space, struct ckv_object *ret)
{
	uint64_t n = (uint64_t)space->n_pages_max * space->geometry.block_tokens;

	if (n > CKV_KERNEL_MAX_TOKENS)
		n = CKV_KERNEL_MAX_TOKENS;
	return compress_object(&space->geometry, (uint32_t)n, ret);
}

/* Parse the method: 0, and it can be run without inputs; or -EINVAL, and why. */
static int read_method(const struct config_space *space, struct ckv_method *ret,
		       struct ckv_object *ret_longest, char why[512])
{
	char alone[160];
	int r;

	if (compress_layout(&space->geometry, why) < 0)
		return -EINVAL;
	r = ckv_method_parse(space->params.compress, ret, why);
	if (r < 0)
		return r;
	if (other_need(ret) != NULL) {
		list_alone(alone, sizeof alone);
		snprintf(why, 512, "it needs %s, which only an engine has; %s and "
			 "encodings alone do without", other_need(ret), alone);
	} else if (longest(space, ret_longest) < 0) {
		snprintf(why, 512, "blocks of this dtype are not compressed; "
			 "expected f32, f16 or bf16");
	} else if (space->pool.n_view_pages == 0) {
		snprintf(why, 512, "the pool has no pages for views; expected a "
			 "larger pool or a share for views=");
	} else {
		return 0;
	}
	return -EINVAL;
}

int config_resolve_compress(struct config_space *space, char text[CONFIG_WHY_BYTES])
{
	const struct space_params *p = &space->params;
	struct ckv_method method, settled;
	struct ckv_object o;
	char why[512];
	int r;

	space->automatic = SPACE_AUTO_NONE;
	memset(&space->compress, 0, sizeof space->compress);
	if (p->compress[0] == 0)
		return 0;
	r = read_method(space, &method, &o, why);
	if (r == 0)
		r = ckv_method_settle(&method, &o, &settled, why);
	if (r == 0)
		r = floor_check(&quality_table, (uint32_t)p->floor, &method,
				&settled, &o, why);
	if (r < 0) {
		snprintf(text, CONFIG_WHY_BYTES, "compress = %s: %.500s", p->compress, why);
		return -EINVAL;
	}
	space->compress = method;
	space->automatic = (enum space_auto)(p->compress_on + SPACE_AUTO_PUBLISH);
	return 0;
}
