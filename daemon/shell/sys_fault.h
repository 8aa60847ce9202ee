/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys_fault.h - what sys.c and sys_net.c share.
 */
#ifndef CKV_SYS_FAULT_H
#define CKV_SYS_FAULT_H

/* Shall this call fail, because a test has armed it? Then errno is set. */
int sys_fault(void);

/* Count a descriptor that a call returned, and return it; if fd is negative, -errno. */
int sys_count_descriptor(int fd);

/* Count one descriptor less, which was not closed by sys_close(). */
void sys_uncount_descriptor(void);

#endif
