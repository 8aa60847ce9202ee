/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - which weights a model has: 32 bytes made of its files.
 *
 * What goes in is everything that changes keys and values here: all of config.json
 * (RoPE among it), and of each file of weights the whole header (names, dtypes, shapes,
 * places) and pieces of each tensor's data: a tensor of up to 256 KiB whole, of a larger
 * one 64 pieces of 4 KiB, spread evenly from its first byte to its last.
 *
 * So it costs at most 256 KiB a tensor: 75 MB of a model of 8 billion weights, 50 to
 * 70 ms when they have just been loaded (16 GB in bf16, one core with SHA instructions).
 * Training changes nearly every number of a tensor and is seen; what is not
 * seen is a change that leaves all pieces of a large tensor as they were, such as a
 * single row that was edited by hand. An engine that must see that hashes all of it.
 */
#ifndef ENGINE_IDENTITY_H
#define ENGINE_IDENTITY_H

#include "client/examples/engine/err.h"
#include "client/examples/engine/st.h"

#define IDENTITY_BYTES	32u

/*
 * The identity of `n_files` opened files of weights, in this order, with the config.json
 * at `config_path` and a text of what else the arithmetic depends on.
 *
 *   -ENOENT ...  config.json cannot be read
 *   -ENOMEM      out of memory
 */
int identity_of(const char *config_path, const char *arithmetic,
		const struct st_file *files, size_t n_files,
		uint8_t ret[IDENTITY_BYTES], struct err *e);

#endif
