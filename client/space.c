/*
 * space.c - attaching and detaching a space.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdlib.h>

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

/* What the daemon said of the last request, or our own words for the error. */
int lib_refused(struct ckv *ckv, int error)
{
	return lib_why(ckv, error, "%s", ckv->pending_text[0] != 0 ?
					 ckv->pending_text :
					 ckv_strerror(error));
}

/* See that there is a living session, waiting for it. ckv->lock is held. */
int lib_conn_ready(struct ckv *ckv)
{
	lib_session_finish(ckv);
	if (ckv->link != NULL &&
	    ckv_world_alive(ckv->link->world, ckv->link->epoch))
		return 0;
	lib_session_drop(ckv, -ESTALE);
	return lib_conn_greet(ckv);
}

static int attach_first(struct ckv_space *space, const struct ckv_model *want)
{
	struct ckv *ckv = space->ckv;
	int r = lib_conn_ready(ckv);

	if (r < 0)
		return r;
	if (want != NULL)
		space->geometry = geometry_of(want);
	r = lib_session_attach(space, want != NULL ? CKV_WANT_SAME :
						     CKV_WANT_ANY);
	if (r == 0)
		r = lib_session_finish(ckv);
	return r < 0 ? lib_refused(ckv, r) : 0;
}

int ckv_attach(struct ckv *ckv, const char *name, const struct ckv_model *want,
	       enum ckv_mode mode, struct ckv_space **ret_space)
{
	struct ckv_space *space;
	int r;

	if (lib_forked(ckv->mine))
		return -ECHILD;
	if (mode != CKV_READ && mode != CKV_WRITE)
		return lib_why(ckv, -EINVAL, "mode %d: CKV_READ or CKV_WRITE",
			       (int)mode);
	if (strlen(name) >= CKV_NAME_BYTES)
		return lib_why(ckv, -ENOENT, "no space has so long a name");
	if (want != NULL && memchr(want->model, 0, sizeof want->model) == NULL)
		return lib_why(ckv, -EINVAL, "model: expected a text of at most "
			       "%u letters and its final zero",
			       CKV_MODEL_BYTES - 1);
	space = calloc(1, sizeof *space);
	if (space == NULL)
		return -ENOMEM;
	space->ckv = ckv;
	strcpy(space->name, name);
	space->access = (uint32_t)mode;
	/* A reader that named no weights names none later; a writer's pages are of some. */
	space->again = want == NULL && mode == CKV_READ ? CKV_WANT_SHAPE :
							  CKV_WANT_SAME;
	pthread_mutex_init(&space->lock, NULL);
	pthread_mutex_lock(&ckv->lock);
	r = attach_first(space, want);
	if (r == 0) {
		space->next = ckv->spaces;
		ckv->spaces = space;
	}
	pthread_mutex_unlock(&ckv->lock);
	if (r < 0) {
		pthread_mutex_destroy(&space->lock);
		free(space);
		return r;
	}
	*ret_space = space;
	return 0;
}

static void unlink_space(struct ckv_space *space)
{
	struct ckv_space **at = &space->ckv->spaces;

	while (*at != space)
		at = &(*at)->next;
	*at = space->next;
}

struct ckv_space *ckv_detach(struct ckv_space *space)
{
	struct ckv *ckv;

	if (space == NULL || lib_forked(space->ckv->mine))
		return NULL;
	ckv = space->ckv;
	while (space->lanes != NULL)
		ckv_lane_close(space->lanes);
	pthread_mutex_lock(&ckv->lock);
	lib_session_finish(ckv);
	if (ckv->link != NULL && space->maps->link == ckv->link &&
	    ckv_world_alive(ckv->link->world, ckv->link->epoch) &&
	    lib_session_id(ckv, CKV_DETACH, space->maps->space_id) == 0)
		lib_session_finish(ckv);
	unlink_space(space);
	lib_maps_put(space->maps);
	pthread_mutex_unlock(&ckv->lock);
	pthread_mutex_destroy(&space->lock);
	free(space);
	return NULL;
}

void ckv_space_get_info(const struct ckv_space *space,
			struct ckv_space_info *ret_info)
{
	struct ckv_space *s = (struct ckv_space *)(uintptr_t)space;
	const struct ckv_geometry *g = &space->geometry;
	struct ckv_space_info info = { .page_bytes = 0 };

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
