/* SPDX-License-Identifier: Apache-2.0 */
/*
 * methods.c - the text of a method judged, and the list of methods.
 *
 * The table and the parser are the daemon's own, in kernels/. A daemon of another
 * version may know other methods; its answer to a request is the one that counts.
 */
#include "client/ckv.h"
#include "kernels/ckv_method.h"

#include <errno.h>
#include <string.h>

_Static_assert((unsigned)CKV_METHOD_SIZE == CKV_METHOD_TEXT_BYTES &&
	       (unsigned)CKV_REASON_SIZE == CKV_METHOD_WHY_BYTES,
	       "ckv.h and kernels/ckv_method.h differ");

int ckv_method_check(const char *text, char ret_text[CKV_METHOD_SIZE],
		     char ret_reason[CKV_REASON_SIZE])
{
	char why[CKV_METHOD_WHY_BYTES];
	struct ckv_method method;
	int r = ckv_method_parse(text, &method, why);

	if (r < 0 && ret_reason != NULL)
		strcpy(ret_reason, why);
	if (r == 0 && ret_text != NULL)
		memcpy(ret_text, method.text, sizeof method.text);
	return r;
}

int ckv_method_get(uint32_t i, struct ckv_method_entry *ret_entry)
{
	const struct ckv_method_info *info = ckv_method_at(i);

	if (info == NULL)
		return -ENOENT;
	*ret_entry = (struct ckv_method_entry){
		.name = info->name, .stage = info->stage, .help = info->help,
		.needs = info->needs, .paper = info->paper,
		.n_params = info->n_keys,
	};
	return 0;
}

int ckv_method_get_param(uint32_t i, uint32_t k,
			 struct ckv_method_param *ret_param)
{
	const struct ckv_method_info *info = ckv_method_at(i);

	if (info == NULL || k >= info->n_keys)
		return -ENOENT;
	*ret_param = (struct ckv_method_param){
		.name = info->key[k].name, .expected = info->key[k].expected,
		.init = info->key[k].init, .help = info->key[k].help,
	};
	return 0;
}
