/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connect.h - connecting to the control socket, and saying why it failed.
 */
#ifndef CKV_CLI_CONNECT_H
#define CKV_CLI_CONNECT_H

#include <stddef.h>

/*
 * How long sending a request, and waiting for its answer, may take. Tests lower it.
 */
extern int connect_timeout_ms;

/*
 * A connected control socket with this timeout, owned by the caller, or -errno. `why` then says what is wrong and what a person can do.
 */
int connect_control(const char *path, char *why, size_t why_bytes);

#endif
