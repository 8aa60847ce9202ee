/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_fault.h - what the files of sys.h share.
 */
#ifndef CKV_SYS_FAULT_H
#define CKV_SYS_FAULT_H

/* Does this call fail by order of a test? Then errno says how. */
int sys_fault(void);

/* A call's descriptor, counted; or -errno. */
int sys_count_descriptor(int fd);

/* A descriptor that something else has closed. */
void sys_uncount_descriptor(void);

#endif
