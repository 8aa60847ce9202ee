/*
 * method.h - the text of a compression method, such as
 * "chunkkv(keep=1/4, chunk=16, window=32)".
 */
#ifndef CKV_SHELL_METHOD_H
#define CKV_SHELL_METHOD_H

#include "kernels/ckv_kernels.h"
#include "proto/ckv_abi.h"

#define METHOD_WHY_BYTES 200u

struct method {
	struct ckv_chunkkv chunkkv;	/* n_keep follows from the tokens */
	uint32_t keep_num, keep_den;	/* fraction kept, reduced */
	char text[CKV_METHOD_BYTES];	/* canonical: equal methods, equal bytes */
};

/*
 * From at most CKV_METHOD_BYTES bytes, zero-terminated. -EINVAL: `why` says
 * what was expected.
 */
int method_parse(const char *text, struct method *ret_method,
		 char why[METHOD_WHY_BYTES]);

#endif
