/* SPDX-License-Identifier: Apache-2.0 */
/*
 * space.c - attaching and detaching a space.
 */
#include "client/lib.h"

#include <errno.h>

_Static_assert(sizeof(((struct ckv_model *)0)->model) == CKV_MODEL_BYTES &&
	       sizeof(((struct ckv_model *)0)->weights) == CKV_WEIGHTS_BYTES,
	       "ckv_model and ckv_geometry");
_Static_assert(CKV_HEAD_MAJOR == (int)CKV_LAYOUT_HEAD_MAJOR &&
	       CKV_TOKEN_MAJOR == (int)CKV_LAYOUT_TOKEN_MAJOR &&
	       CKV_OPAQUE == (int)CKV_LAYOUT_OPAQUE, "layouts");

static struct ckv_geometry geometry_of(const struct ckv_model *model)
{
	struct ckv_geometry g = {
		.block_tokens = model->block_tokens,
		.n_ranks = 1,
		.layout = model->layout != 0 ? model->layout : CKV_HEAD_MAJOR,
		.key_scheme = model->scheme,
	};

	memcpy(g.model, model->model, strlen(model->model));
	memcpy(g.weights, model->weights, sizeof g.weights);
	if (g.layout == CKV_LAYOUT_OPAQUE) {
		g.opaque_bytes = model->block_bytes;
		return g;
	}
	g.n_layers = model->n_layers;
	g.n_kv_heads = model->n_kv_heads;
	g.dim_k = model->dim_k;
	g.dim_v = model->dim_v;
	g.dtype = model->type;
	return g;
}

static int attach_first(struct ckv_space *space, const struct ckv_model *want)
{
	int64_t deadline = lib_now_ns() + lib_call_timeout_ns;
	struct lib_wait wait = { .done = 0 };
	struct ckv *ckv = space->ckv;
	int r = lib_conn_ready(ckv, deadline);

	if (r < 0)
		return lib_gone(r);
	if (want != NULL)
		space->geometry = geometry_of(want);
	r = lib_session_attach(space, want != NULL ? CKV_WANT_SAME :
						     CKV_WANT_ANY, &wait);
	if (r == 0)
		r = lib_session_finish(ckv, &wait, deadline);
	if (r < 0)
		return lib_refused(ckv, &wait, r);
	lib_maps_populate(space->maps, INT64_MAX);
	return 0;
}

/* Free the space with its lanes, and have the daemon detach it. */
void lib_space_end(struct ckv_space *space)
{
	struct ckv *ckv = space->ckv;
	struct ckv_space **at;

	while (space->lanes != NULL)
		lib_lane_end(space->lanes);
	for (at = &ckv->spaces; *at != NULL && *at != space; at = &(*at)->next)
		;
	if (*at == space)
		*at = space->next;
	lib_session_forget(ckv, space, NULL);
	if (space->maps != NULL && space->maps->link == ckv->link)
		lib_session_bye(ckv, &space->maps->bye);
	lib_maps_put(space->maps);
	pthread_mutex_destroy(&space->lock);
	lib_sys_free(space);
}

int lib_space_used(const struct ckv_space *space)
{
	const struct ckv_lane *lane;

	for (lane = space->lanes; lane != NULL; lane = lane->next)
		if (lib_lane_used(lane))
			return 1;
	return space->n_calls > 0;
}

int ckv_attach(struct ckv *ckv, const char *name, const struct ckv_model *want,
	       enum ckv_mode mode, struct ckv_space **ret_space)
{
	struct ckv_space *space;
	int r;

	if (lib_forked(ckv->mine))
		return lib_plain(ckv, -ECHILD);
	if (mode != CKV_READ && mode != CKV_WRITE)
		return lib_why(ckv, -EINVAL, "mode is %d; expected CKV_READ or "
			       "CKV_WRITE", (int)mode);
	if (strlen(name) >= CKV_NAME_BYTES)
		return lib_why(ckv, -ENOENT, "there is no such space: the name has "
			       "%zu letters, a space's at most %u", strlen(name),
			       CKV_NAME_BYTES - 1);
	if (want != NULL && memchr(want->model, 0, sizeof want->model) == NULL)
		return lib_why(ckv, -EINVAL, "model: expected a text of at most "
			       "%u letters and its final zero",
			       CKV_MODEL_BYTES - 1);
	space = lib_sys_alloc(1, sizeof *space);
	if (space == NULL)
		return lib_plain(ckv, -ENOMEM);
	space->ckv = ckv;
	strcpy(space->name, name);
	space->access = (uint32_t)mode;
	/* A reader that named no weights takes any later, too; a writer's pages have some. */
	space->again = want == NULL && mode == CKV_READ ? CKV_WANT_SHAPE :
							  CKV_WANT_SAME;
	pthread_mutex_init(&space->lock, NULL);
	lib_call_enter(ckv, NULL);
	r = attach_first(space, want);
	if (r == 0) {
		space->next = ckv->spaces;
		ckv->spaces = space;
	} else {
		lib_space_end(space);
	}
	lib_call_leave(ckv, NULL);
	if (r < 0)
		return r;
	*ret_space = space;
	return 0;
}

struct ckv_space *ckv_detach(struct ckv_space *space)
{
	struct ckv *ckv;
	int used;

	if (space == NULL || lib_forked(space->ckv->mine))
		return NULL;
	ckv = space->ckv;
	lib_call_enter(ckv, NULL);
	used = lib_space_used(space);
	if (!used) {
		lib_space_end(space);
		lib_session_idle(ckv, lib_now_ns() + lib_call_timeout_ns);
	}
	lib_call_leave(ckv, NULL);
	return used ? space : NULL;
}

void ckv_space_get_info(const struct ckv_space *space,
			struct ckv_space_info *ret_info)
{
	struct ckv_space *s = (struct ckv_space *)(uintptr_t)space;
	const struct ckv_geometry *g = &space->geometry;
	struct ckv_space_info info = { .page_bytes = 0 };

	/* In a child, a thread that does not exist there may have the lock. */
	if (!lib_forked(space->ckv->mine))
		pthread_mutex_lock(&s->lock);
	memcpy(info.model.model, g->model, sizeof g->model);
	memcpy(info.model.weights, g->weights, sizeof g->weights);
	info.model.layout = g->layout;
	info.model.block_bytes = ckv_block_bytes(g);
	info.model.n_layers = g->n_layers;
	info.model.n_kv_heads = g->n_kv_heads;
	info.model.dim_k = g->dim_k;
	info.model.dim_v = g->dim_v;
	info.model.block_tokens = g->block_tokens;
	info.model.type = g->dtype;
	info.model.scheme = g->key_scheme;
	info.page_bytes = space->pool.page_bytes;
	info.n_block_pages = space->pool.n_block_pages;
	info.n_view_pages = space->pool.n_view_pages;
	if (!lib_forked(space->ckv->mine))
		pthread_mutex_unlock(&s->lock);
	*ret_info = info;
}

void lib_space_secret(const struct ckv_space *space, uint8_t ret_secret[32])
{
	struct ckv_space *s = (struct ckv_space *)(uintptr_t)space;

	pthread_mutex_lock(&s->lock);
	memcpy(ret_secret, space->secret, sizeof space->secret);
	pthread_mutex_unlock(&s->lock);
}
