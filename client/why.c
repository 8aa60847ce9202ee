/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.c - errors in words.
 *
 * The text of the last refused call is kept per thread, for the last few
 * connections that the thread used, so two threads never write the same text.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { REMEMBERED = 4 };

struct why {
	uint64_t serial;	/* of the connection; 0: none */
	int error;		/* of the call that it was about */
	char text[512];
};

static _Thread_local struct why whys[REMEMBERED];
static _Thread_local struct why opening;	/* of the last ckv_open() that failed */
static _Thread_local unsigned oldest;

static struct why *why_of(const struct ckv *ckv)
{
	struct why *why = NULL;

	if (ckv == NULL)
		why = &opening;
	for (int i = 0; why == NULL && i < REMEMBERED; i++)
		if (whys[i].serial == ckv->why_serial)
			why = &whys[i];
	if (why == NULL) {
		why = &whys[oldest++ % REMEMBERED];
		*why = (struct why){ .serial = ckv->why_serial };
	}
	return why;
}

int lib_why(const struct ckv *ckv, int error, const char *format, ...)
{
	struct why *why = why_of(ckv);
	va_list args;

	why->error = error;
	va_start(args, format);
	vsnprintf(why->text, sizeof why->text, format, args);
	va_end(args);
	return error;
}

int lib_plain(const struct ckv *ckv, int error)
{
	struct why *why = why_of(ckv);
	const char *text = ckv_strerror(error);
	size_t bytes = strlen(text) + 1;

	if (why->error == error && (error == -ESTALE || error == -EPROTO))
		return error;
	why->error = error;
	memcpy(why->text, text, bytes < sizeof why->text ? bytes : sizeof why->text);
	return error;
}

const char *ckv_why(const struct ckv *ckv)
{
	if (ckv == NULL)
		return opening.text;
	for (int i = 0; i < REMEMBERED; i++)
		if (whys[i].serial == ckv->why_serial)
			return whys[i].text;
	return "";
}

static const struct {
	int error;
	const char *text;
} sentences[] = {
	{ EPERM, "the space's accuracy floor does not allow this method" },
	{ ENOENT, "there is no such daemon, space, block or view" },
	{ ECONNREFUSED, "no daemon listens at this socket" },
	{ EACCES, "this user may not, or the space is attached read-only" },
	{ EPROTONOSUPPORT, "daemon and library are of different versions" },
	{ EUSERS, "a limit of the daemon for clients, lanes or pins is reached" },
	{ ENOMEM, "out of memory or address space" },
	{ EMFILE, "a limit of descriptors or lanes is reached" },
	{ EINVAL, "an argument is out of range, or the geometry differs" },
	{ EAGAIN, "requests, pins or memory are used up now; try again" },
	{ EDQUOT, "a limit of the daemon for one client is reached" },
	{ ESTALE, "the daemon ended or was started again, or the page was given back" },
	{ ECHILD, "this connection belongs to the parent process" },
	{ EEXIST, "stored already" },
	{ EXDEV, "stored already under another parent" },
	{ EALREADY, "being written by someone, or attached already" },
	{ ENODEV, "the space has no such level" },
	{ ENOSPC, "the pool is full of blocks that may not be evicted" },
	{ EXFULL, "the index has no place for this key" },
	{ ECANCELED, "an earlier key failed, the page was given back before, or the "
		     "request was cancelled" },
	{ EPROTO, "the daemon closed the lane, or its answer made no sense" },
	{ EBUSY, "the block is pinned, in use or has children; or too many "
		 "compressions are under way" },
	{ EDOM, "the input holds NaN or infinity, or is too large" },
	{ EBADMSG, "the view is damaged" },
	{ ETIMEDOUT, "nothing came in time" },
	{ EOPNOTSUPP, "the daemon does not know this operation" },
};

const char *ckv_strerror(int error)
{
	const char *text;

	if (error >= 0)
		return "success";
	for (size_t i = 0; i < sizeof sentences / sizeof sentences[0]; i++)
		if (sentences[i].error == -error)
			return sentences[i].text;
	text = strerrordesc_np(-error);
	return text != NULL ? text : "unknown error";
}
