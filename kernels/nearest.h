/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nearest.h - which name was meant by a mistyped one.
 */
#ifndef CKV_KERNELS_NEAREST_H
#define CKV_KERNELS_NEAREST_H

/*
 * How far a name is from what was typed: 0 when it begins so, else letters to
 * insert, delete or replace. Above 2 it was hardly meant; 64 when more than half is.
 */
unsigned ckv_name_distance(const char *typed, const char *name);

#endif
