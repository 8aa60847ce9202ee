/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weights.h - the tensors of a model's folder: in model.safetensors, or in the
 * several files that model.safetensors.index.json names.
 *
 * Whoever takes a tensor uses it. What nobody has taken at the end is something
 * that this engine does not compute with, so the model would answer as if it
 * were not there: weights_check_used() refuses it by name.
 */
#ifndef ENGINE_WEIGHTS_H
#define ENGINE_WEIGHTS_H

#include <stdbool.h>

#include "client/examples/engine/err.h"
#include "client/examples/engine/st.h"

struct weights {
	char *path;			/* the file, or the index of several */
	struct st_file *file;		/* by name */
	bool **used;			/* [file][tensor] */
	size_t n_files;
};

/*
 * Open the weights of the folder `dir`. The caller owns *ret and gives it to
 * weights_close(); its tensors live as long.
 *
 *   -ENOENT ...  a file cannot be read
 *   -EINVAL      a file is damaged, or it and the index contradict each other
 *   -ENOMEM      out of memory
 */
int weights_open(const char *dir, struct weights *ret, struct err *e);

void weights_close(struct weights *w);

bool weights_have(const struct weights *w, const char *name);

/*
 * The tensor of that name, which must be of this shape (cols 0: one dimension)
 * and hold F32, F16 or BF16. NULL, and the reason in `e`.
 */
const struct st_tensor *weights_take(struct weights *w, const char *name,
				     uint32_t rows, uint32_t cols,
				     struct err *e);

/* Number i of a tensor that was taken. */
float weights_value(const struct st_tensor *t, size_t i);

/* 0, or -EINVAL: a tensor that nobody took. */
int weights_check_used(const struct weights *w, struct err *e);

#endif
