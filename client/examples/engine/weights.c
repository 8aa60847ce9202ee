/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.c - see weights.h.
 *
 * An index maps the name of each tensor to the name of its file. It and the
 * files must say the same: a tensor that only one of them knows means that the
 * folder is not what its maker wrote.
 */
#include "client/examples/engine/weights.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/vec.h"

#define ONE	"model.safetensors"
#define INDEX	"model.safetensors.index.json"

struct opening {
	const char *dir;
	const json_t *map;		/* tensor to file, or NULL: one file */
	struct weights *w;
	struct err *e;
};

/* Append the file `name` of the folder, opened. */
static int add_file(const struct opening *in, const char *name)
{
	struct weights *w = in->w;
	char path[4096], why[400];
	int r;

	snprintf(path, sizeof(path), "%s/%s", in->dir, name);
	r = st_file_open(path, &w->file[w->n_files], why, sizeof(why));
	if (r < 0)
		return err_set(in->e, r, "%s%s", why, in->map != NULL ?
			       " (the index names it: is the download "
			       "complete?)" : "");
	w->used[w->n_files] = calloc(w->file[w->n_files].n_tensors + 1,
				     sizeof(**w->used));
	w->n_files++;
	return w->used[w->n_files - 1] != NULL ? 0 :
	       err_set(in->e, -ENOMEM, "out of memory");
}

static int make_room(const struct opening *in, size_t n_files)
{
	in->w->file = calloc(n_files, sizeof(*in->w->file));
	in->w->used = calloc(n_files, sizeof(*in->w->used));
	return in->w->file != NULL && in->w->used != NULL ? 0 :
	       err_set(in->e, -ENOMEM, "out of memory");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of files in the index, each once and in order. */
static int list_files(const struct opening *in, const char **names,
		      size_t *ret_n)
{
	const char *tensor;
	json_t *file;
	size_t n = 0, n_kept = 0;

	json_object_foreach((json_t *)in->map, tensor, file) {
		const char *name = json_string_value(file);

		if (name == NULL || name[0] == '\0' || strchr(name, '/'))
			return err_set(in->e, -EINVAL, "%s: tensor %s: the file "
				       "is not one of this folder",
				       in->w->path, tensor);
		names[n++] = name;
	}
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
			names[n_kept++] = names[i];
	*ret_n = n_kept;
	return 0;
}

/* Every tensor of the file is the index' tensor of this file. */
static int check_file(const struct opening *in, const struct st_file *f,
		      const char *name)
{
	for (size_t i = 0; i < f->n_tensors; i++) {
		const char *tensor = f->tensor[i].name;
		const char *place = json_string_value(json_object_get(in->map,
								      tensor));

		if (place == NULL || strcmp(place, name) != 0)
			return err_set(in->e, -EINVAL, "%s: tensor %s is in %s, "
				       "but the index says %s", in->w->path,
				       tensor, name, place != NULL ? place :
				       "nothing of it");
	}
	return 0;
}

static int check_index(const struct opening *in)
{
	const char *tensor;
	json_t *file;

	json_object_foreach((json_t *)in->map, tensor, file)
		if (!weights_have(in->w, tensor))
			return err_set(in->e, -EINVAL, "%s: tensor %s is not in "
				       "%s, where the index has it",
				       in->w->path, tensor,
				       json_string_value(file));
	return 0;
}

static int open_listed(const struct opening *in)
{
	size_t n = json_object_size(in->map);
	const char **names = calloc(n + 1, sizeof(*names));
	int r;

	if (names == NULL)
		return err_set(in->e, -ENOMEM, "out of memory");
	r = list_files(in, names, &n);
	if (r == 0)
		r = make_room(in, n + 1);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_file(in, names[i]);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = check_file(in, &in->w->file[i], names[i]);
	if (r == 0)
		r = check_index(in);
	free(names);
	return r;
}

static int open_index(struct opening *in)
{
	json_error_t why;
	json_t *index = json_load_file(in->w->path, JSON_REJECT_DUPLICATES,
				       &why);
	int r;

	in->map = json_object_get(index, "weight_map");
	if (json_is_object(in->map))
		r = open_listed(in);
	else
		r = err_set(in->e, -EINVAL, "%s: %s", in->w->path, index == NULL
			    ? why.text : "weight_map is not an object");
	json_decref(index);
	return r;
}

/* The path of a file that is there, or NULL. */
static char *path_of(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

int weights_open(const char *dir, struct weights *ret, struct err *e)
{
	struct weights w = { 0 };
	struct opening in = { .dir = dir, .w = &w, .e = e };
	int r;

	w.path = path_of(dir, ONE);
	if (w.path != NULL) {
		r = make_room(&in, 1);
		if (r == 0)
			r = add_file(&in, ONE);
	} else {
		w.path = path_of(dir, INDEX);
		r = w.path != NULL ? open_index(&in) :
		    err_set(e, -ENOENT, "%s: neither " ONE " nor " INDEX " is "
			    "there; weights of another format (.bin, .pth, "
			    ".gguf) are not read", dir);
	}
	if (r < 0)
		weights_close(&w);
	else
		*ret = w;
	return r;
}

void weights_close(struct weights *w)
{
	for (size_t i = 0; i < w->n_files; i++) {
		st_file_close(&w->file[i]);
		free(w->used[i]);
	}
	free(w->file);
	free(w->used);
	free(w->path);
	memset(w, 0, sizeof(*w));
}

static const struct st_tensor *find(const struct weights *w, const char *name,
				    bool **ret_used)
{
	for (size_t i = 0; i < w->n_files; i++) {
		const struct st_tensor *t = st_file_find(&w->file[i], name);

		if (t == NULL)
			continue;
		*ret_used = &w->used[i][t - w->file[i].tensor];
		return t;
	}
	return NULL;
}

bool weights_have(const struct weights *w, const char *name)
{
	bool *used;

	return find(w, name, &used) != NULL;
}

const struct st_tensor *weights_take(struct weights *w, const char *name,
				     uint32_t rows, uint32_t cols,
				     struct err *e)
{
	uint32_t n_dims = cols != 0 ? 2 : 1;
	bool *used;
	const struct st_tensor *t = find(w, name, &used);

	if (t == NULL) {
		err_set(e, -EINVAL, "%s: tensor %s is missing", w->path, name);
		return NULL;
	}
	if (t->dtype != ST_F32 && t->dtype != ST_F16 && t->dtype != ST_BF16) {
		err_set(e, -EINVAL, "%s: tensor %s: dtype %s is not supported, "
			"only F32, F16 and BF16 are", w->path, name,
			st_dtype_name(t->dtype));
		return NULL;
	}
	if (t->n_dims != n_dims || t->dim[0] != rows ||
	    (n_dims == 2 && t->dim[1] != cols)) {
		err_set(e, -EINVAL, "%s: tensor %s has not the shape "
			"[%u%s%.0u] that config.json asks for", w->path, name,
			rows, n_dims == 2 ? ", " : "", cols);
		return NULL;
	}
	*used = true;
	return t;
}

float weights_value(const struct st_tensor *t, size_t i)
{
	uint16_t half;
	float f;

	if (t->dtype == ST_F32) {
		memcpy(&f, t->data + i * sizeof(f), sizeof(f));
		return f;
	}
	memcpy(&half, t->data + i * sizeof(half), sizeof(half));
	return t->dtype == ST_BF16 ? vec_from_bf16(half) : vec_from_f16(half);
}

int weights_check_used(const struct weights *w, struct err *e)
{
	for (size_t i = 0; i < w->n_files; i++)
		for (size_t j = 0; j < w->file[i].n_tensors; j++)
			if (!w->used[i][j])
				return err_set(e, -EINVAL, "%s: tensor %s is not "
					       "one that this engine computes "
					       "with; without it the model "
					       "would answer otherwise",
					       w->path,
					       w->file[i].tensor[j].name);
	return 0;
}
