/* SPDX-License-Identifier: Apache-2.0 */
/* ptx_table.c - the kernels of the library that this is linked into; see ptx.h. */
#include "ptx.h"

/* The linker's: begin and end of the section that PTX_KERNEL() fills. */
extern const struct ptx_kernel *const __start_ptx_kernels[], *const __stop_ptx_kernels[];

const struct ptx_kernel *const *ptx_kernels(size_t *ret_n)
{
	*ret_n = (size_t)(__stop_ptx_kernels - __start_ptx_kernels);
	return __start_ptx_kernels;
}

const struct ptx_kernel *ptx_find(const char *name)
{
	size_t n;
	const struct ptx_kernel *const *kernel = ptx_kernels(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(kernel[i]->name, name) == 0)
			return kernel[i];
	return NULL;
}
