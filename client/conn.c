/*
 * conn.c - opening and closing a connection.
 */
#include "client/lib.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNECT_TRIES = 200,	/* while others wait to be accepted */
	CONNECT_PAUSE_MS = 5,
};

int64_t lib_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Tells connections of this process apart, also after one was freed. */
static uint64_t next_serial(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t last;
	uint64_t serial;

	pthread_mutex_lock(&lock);
	serial = ++last;
	pthread_mutex_unlock(&lock);
	return serial;
}

static const char *path_or_default(const char *path)
{
	if (path == NULL)
		path = getenv("CKV_SOCKET");
	return path != NULL && path[0] != 0 ? path : CKV_DEFAULT_SOCKET;
}

static int connect_patiently(struct ckv *ckv)
{
	struct timespec pause = { .tv_nsec = CONNECT_PAUSE_MS * 1000000 };
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < CONNECT_TRIES; i++) {
		if (i > 0)
			nanosleep(&pause, NULL);
		r = lib_session_connect(ckv);
	}
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

/* Connect and be welcomed, waiting for it. ckv->lock is held. */
int lib_conn_greet(struct ckv *ckv)
{
	int r = connect_patiently(ckv);

	if (r < 0)
		return lib_why(ckv, r, "%s: %s", ckv->path, ckv_strerror(r));
	r = lib_session_finish(ckv);
	if (r == 0)
		return 0;
	lib_why(ckv, r, "%s", ckv->pending_text[0] != 0 ?
			      ckv->pending_text : ckv_strerror(r));
	lib_session_drop(ckv, r);
	return r;
}

static void conn_free(struct ckv *ckv)
{
	if (ckv->event_fd >= 0)
		close(ckv->event_fd);
	pthread_mutex_destroy(&ckv->lock);
	free(ckv->path);
	free(ckv);
}

static int conn_new(const char *path, const char *program, struct ckv **ret_ckv)
{
	struct ckv *ckv = calloc(1, sizeof *ckv);
	int r = -ENOMEM;

	if (ckv == NULL)
		return r;
	pthread_mutex_init(&ckv->lock, NULL);
	ckv->sock = ckv->event_fd = -1;
	ckv->why_serial = next_serial();
	ckv->path = strdup(path_or_default(path));
	strncpy(ckv->program, program != NULL ? program :
			      program_invocation_short_name,
		sizeof ckv->program - 1);
	if (ckv->path == NULL)
		goto err_free;
	ckv->event_fd = epoll_create1(EPOLL_CLOEXEC);
	r = ckv->event_fd < 0 ? -errno : lib_wipe_page(&ckv->mine);
	if (r < 0)
		goto err_free;
	*ret_ckv = ckv;
	return 0;

err_free:
	conn_free(ckv);
	return r;
}

int ckv_open(const char *path, const char *program, struct ckv **ret_ckv)
{
	struct ckv *ckv;
	int r = conn_new(path, program, &ckv);

	if (r < 0)
		return r;
	pthread_mutex_lock(&ckv->lock);
	r = lib_conn_greet(ckv);
	pthread_mutex_unlock(&ckv->lock);
	if (r < 0) {
		lib_wipe_free(ckv->mine);
		conn_free(ckv);
		return r;
	}
	*ret_ckv = ckv;
	return 0;
}

/*
 * In a child the mappings are gone and their places may be taken, the lock may
 * be held by a thread that does not exist here, and the daemon is the parent's:
 * only memory and descriptors are let go.
 */
static void abandon(struct ckv *ckv)
{
	while (ckv->spaces != NULL) {
		struct ckv_space *space = ckv->spaces;

		ckv->spaces = space->next;
		while (space->lanes != NULL) {
			struct ckv_lane *lane = space->lanes;

			space->lanes = lane->next;
			close(lane->seg.kick_fd);
			lib_lane_free(lane);
		}
		free(space);
	}
	if (ckv->sock >= 0)
		close(ckv->sock);
}

struct ckv *ckv_close(struct ckv *ckv)
{
	if (ckv == NULL)
		return NULL;
	if (lib_forked(ckv->mine)) {
		abandon(ckv);
	} else {
		while (ckv->spaces != NULL)
			ckv_detach(ckv->spaces);
		pthread_mutex_lock(&ckv->lock);
		lib_session_drop(ckv, -ESTALE);
		pthread_mutex_unlock(&ckv->lock);
	}
	lib_wipe_free(ckv->mine);
	conn_free(ckv);
	return NULL;
}

int ckv_event_fd(const struct ckv *ckv)
{
	return lib_forked(ckv->mine) ? -ECHILD : ckv->event_fd;
}
