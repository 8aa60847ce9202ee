/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.h - which name was meant by a mistyped one.
 */
#ifndef CKV_KERNELS_NEAREST_H
#define CKV_KERNELS_NEAREST_H

/*
 * How far a name is from what was typed: 0 if it begins with that, else how many letters
 * must be inserted, deleted or replaced; 64 if these are more than half of what was typed. With
 * more than 2 it was hardly meant.
 */
unsigned ckv_name_distance(const char *typed, const char *name);

#endif
