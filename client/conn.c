/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - opening and closing a connection.
 */
#include "client/lib.h"

#include <errno.h>

enum {
	CONNECT_TRIES = 200,	/* while others wait to be accepted */
	CONNECT_PAUSE_NS = 5000000,
};

void lib_lock(struct ckv *ckv)
{
	pthread_mutex_lock(&ckv->lock);
}

/* Maps without a reference are unmapped only after the lock is let go: it takes long. */
void lib_unlock(struct ckv *ckv)
{
	struct lib_maps *dead = ckv->dead_maps;
	struct lib_pool *dead_pools = ckv->dead_pools;

	ckv->dead_maps = NULL;
	ckv->dead_pools = NULL;
	pthread_mutex_unlock(&ckv->lock);
	lib_dead_free(dead, dead_pools);
}

void lib_call_enter(struct ckv *ckv, struct ckv_space *space)
{
	lib_lock(ckv);
	ckv->n_calls++;
	if (space != NULL)
		space->n_calls++;
	lib_unlock(ckv);
	pthread_mutex_lock(&ckv->turn);
	lib_lock(ckv);
}

void lib_call_leave(struct ckv *ckv, struct ckv_space *space)
{
	ckv->n_calls--;
	if (space != NULL)
		space->n_calls--;
	lib_unlock(ckv);
	pthread_mutex_unlock(&ckv->turn);
}

uint64_t lib_next_serial(void)
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
	if (path == NULL || path[0] == 0)
		path = getenv("CKV_SOCKET");
	return path != NULL && path[0] != 0 ? path : CKV_DEFAULT_SOCKET;
}

/* What the daemon said of a request, or our own words for the error. */
int lib_refused(struct ckv *ckv, const struct lib_wait *wait, int error)
{
	return lib_why(ckv, error, "%s", wait->text[0] != 0 ?
					 wait->text : ckv_strerror(error));
}

static int not_connected(struct ckv *ckv, int error)
{
	const char *what = ckv_strerror(error);

	if (error == -ENAMETOOLONG)
		return lib_why(ckv, error, "the path of the socket has %zu bytes; at "
			       "most %zu", strlen(ckv->path),
			       sizeof ((struct sockaddr_un *)0)->sun_path - 1);
	if ((error == -ECONNREFUSED || error == -EACCES) &&
	    !lib_sys_is_socket(ckv->path))
		what = "this is not a socket";
	else if (error == -ENOENT)
		what = "the socket does not exist; is ckvd running?";
	else if (error == -EACCES)
		what = "this user may not connect; 'ckv status' says who may";
	else if (error == -EPROTOTYPE)
		what = "a socket of another kind, not ckvd's";
	return lib_why(ckv, error, "%s: %s", ckv->path, what);
}

/* Connect and be welcomed, unless a lane has begun to. */
static int greet(struct ckv *ckv, int64_t deadline_ns)
{
	struct lib_wait wait = { .done = 0 };
	int r = -EAGAIN;

	for (int i = 0; r == -EAGAIN && i < CONNECT_TRIES; i++) {
		if (i > 0) {
			lib_unlock(ckv);
			lib_sys_sleep(CONNECT_PAUSE_NS);
			lib_lock(ckv);
		}
		if (ckv->sock >= 0)
			return lib_session_idle(ckv, deadline_ns);
		r = lib_session_connect(ckv, &wait);
	}
	if (r == -EAGAIN)
		r = -ETIMEDOUT;
	if (r < 0)
		return not_connected(ckv, r);
	r = lib_session_finish(ckv, &wait, deadline_ns);
	if (r < 0 && wait.text[0] == 0)
		lib_why(ckv, r, "%s: %s", ckv->path, r == -ESTALE ?
			"the daemon ended before it answered" : r == -ETIMEDOUT ?
			"the daemon does not answer" : ckv_strerror(r));
	else if (r < 0)
		lib_refused(ckv, &wait, r);
	return r;
}

/*
 * See that there is a living session and that nothing is pending on it, waiting
 * for it. Of a daemon that is not there -ENOENT, -ECONNREFUSED or, if it went
 * away meanwhile, -ESTALE.
 */
int lib_conn_ready(struct ckv *ckv, int64_t deadline_ns)
{
	int r = lib_session_idle(ckv, deadline_ns);

	while (r < 0 && r != -ETIMEDOUT && ckv->sock < 0) {
		r = greet(ckv, deadline_ns);
		if (r < 0)
			return r;
		r = lib_session_idle(ckv, deadline_ns);
	}
	return r < 0 ? lib_why(ckv, r, "%s: the daemon does not answer",
			       ckv->path) : 0;
}

static void conn_free(struct ckv *ckv)
{
	lib_sys_close(ckv->event_fd);
	lib_sys_close(ckv->ready_fd);
	pthread_mutex_destroy(&ckv->lock);
	pthread_mutex_destroy(&ckv->turn);
	if (ckv->mine != NULL)
		lib_wipe_free(ckv->mine);
	lib_sys_free(ckv->path);
	lib_sys_free(ckv);
}

static int conn_new(const char *path, const char *program, struct ckv **ret_ckv)
{
	struct ckv *ckv = lib_sys_alloc(1, sizeof *ckv);
	int r;

	if (ckv == NULL)
		return -ENOMEM;
	pthread_mutex_init(&ckv->turn, NULL);
	pthread_mutex_init(&ckv->lock, NULL);
	ckv->sock = ckv->event_fd = ckv->ready_fd = -1;
	ckv->why_serial = lib_next_serial();
	path = path_or_default(path);
	strncpy(ckv->program, program != NULL ? program :
			      program_invocation_short_name,
		sizeof ckv->program - 1);
	r = -ENOMEM;
	ckv->path = lib_sys_alloc(1, strlen(path) + 1);
	if (ckv->path == NULL)
		goto err_free;
	strcpy(ckv->path, path);
	r = ckv->event_fd = lib_sys_epoll();
	if (r >= 0)
		r = ckv->ready_fd = lib_sys_eventfd();
	if (r >= 0)
		r = lib_sys_epoll_add(ckv->event_fd, ckv->ready_fd);
	if (r >= 0)
		r = lib_wipe_page(&ckv->mine);
	if (r < 0)
		goto err_free;
	*ret_ckv = ckv;
	return 0;

err_free:
	conn_free(ckv);
	return r;
}

/* What went wrong, also for ckv_why(NULL): its caller has no connection to ask. */
static int open_failed(struct ckv *ckv, int error)
{
	lib_why(NULL, error, "%s", ckv_why(ckv));
	return error == -ESTALE ? -ECONNREFUSED : error;
}

int ckv_open(const char *path, const char *program, struct ckv **ret_ckv)
{
	struct ckv *ckv;
	int r = conn_new(path, program, &ckv);

	if (r < 0)
		return lib_why(NULL, r, "%s", ckv_strerror(r));
	pthread_mutex_lock(&ckv->turn);
	lib_lock(ckv);
	r = lib_conn_ready(ckv, lib_now_ns() + lib_call_timeout_ns);
	if (r < 0) {
		r = open_failed(ckv, r);
		lib_session_drop(ckv, r);
	}
	lib_unlock(ckv);
	pthread_mutex_unlock(&ckv->turn);
	if (r < 0) {
		conn_free(ckv);
		return r;
	}
	*ret_ckv = ckv;
	return 0;
}

/*
 * In a child of fork() there are no mappings, and something else may be at their
 * addresses; the lock may be held by a thread that the child does not have; and the daemon
 * serves the parent. So only memory and descriptors are freed.
 */
static void abandon(struct ckv *ckv)
{
	while (ckv->spaces != NULL) {
		struct ckv_space *space = ckv->spaces;

		ckv->spaces = space->next;
		while (space->lanes != NULL) {
			struct ckv_lane *lane = space->lanes;

			space->lanes = lane->next;
			lib_sys_close(lane->seg.kick_fd);
			lib_sys_close(lane->fresh.kick_fd);
			lib_lane_free(lane);
		}
		lib_sys_free(space);
	}
	lib_byes_free(ckv);
	lib_sys_close(ckv->sock);
}

/* Is a thread in a call of a lane, a space or the connection? ckv->lock is held. */
static int is_used(const struct ckv *ckv)
{
	const struct ckv_space *space;

	for (space = ckv->spaces; space != NULL; space = space->next)
		if (lib_space_used(space))
			return 1;
	return ckv->n_calls > 0;
}

struct ckv *ckv_close(struct ckv *ckv)
{
	int used;

	if (ckv == NULL)
		return NULL;
	if (lib_forked(ckv->mine)) {
		abandon(ckv);
		conn_free(ckv);
		return NULL;
	}
	/* ckv->turn is not taken: n_calls counts the threads that have it or wait for it. */
	lib_lock(ckv);
	used = is_used(ckv);
	if (!used) {
		int64_t deadline = lib_now_ns() + lib_call_timeout_ns;

		while (ckv->spaces != NULL)
			lib_space_end(ckv->spaces);
		/* A daemon that this connection does not know yet may have its lanes. */
		if (ckv->byes != NULL || ckv->call.sent != NULL)
			(void)lib_conn_ready(ckv, deadline);
		lib_session_end(ckv, deadline);
	}
	lib_unlock(ckv);
	if (used)
		return ckv;
	conn_free(ckv);
	return NULL;
}
