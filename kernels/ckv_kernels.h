/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_kernels.h - what a compression method computes, callable from C.
 *
 * A method is built from operations: score tokens, pool, reduce, select,
 * gather, encode. Each has a file of its own and is tested by itself; the
 * selection methods are short compositions of them, one file each, behind
 * ckv_select(). Nothing here knows about pools, spaces or clients.
 *
 *   letters    Hkv, Hq kv heads, query heads     G  Hq / Hkv, heads of a group
 *              T  tokens                         w  window: the last w tokens
 *              D  numbers in a row               n  tokens kept
 *
 * Query head h belongs to kv head h / G. All keys and queries carry their
 * rotation (RoPE) already; survivors keep theirs. Scores are float.
 *
 * Order of scores, everywhere: score descending, then index ascending; NaN
 * after every number; -0 equals +0. Positions come out ascending.
 *
 * Threads: no function keeps state, allocates, locks or prints. What needs
 * room takes `scratch`, 64-byte aligned, as large as the _scratch_bytes()
 * beside it says; each thread needs one of its own. Work may be divided by kv
 * heads and layers in any way, and the results have the same bits on one machine.
 * (Another kind of processor may round the last bits of a score differently.)
 *
 * Errors: 0 or -errno. After an error the `ret_` outputs are as before;
 * output arrays may hold anything. -EINVAL everywhere means impossible
 * arguments: a zero or contradicting size, an unknown enum, a NULL, a
 * scratch that is not aligned.
 */
#ifndef CKV_KERNELS_H
#define CKV_KERNELS_H

#include "kernels/ckv_rows.h"	/* rows in pages, gather, checksum */
#include "kernels/ckv_select.h"	/* scores and selection methods */
#include "kernels/ckv_encode.h"	/* encodings of what survives */
#include "kernels/ckv_method.h"	/* both, named in one text */
#include "kernels/ckv_cuda.h"	/* the same operations on a GPU */

#endif
