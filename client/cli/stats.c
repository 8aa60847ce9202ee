/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - copying the counters out of shared memory.
 */
#include "client/cli/stats.h"
#include "client/cli/cli.h"
#include "client/cli/text.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

const struct stat_help global_stat_help[] = {
#define CKV_GLOBAL_STAT(name, kind, unit, help) { #name, #kind, #unit, help },
#include "proto/ckv_stats.def"
};

const struct stat_help space_stat_help[] = {
#define CKV_SPACE_STAT(name, kind, unit, help) { #name, #kind, #unit, help },
#include "proto/ckv_stats.def"
};

/* The structs are nothing but these words, in this order. */
_Static_assert(sizeof(struct ckv_global_stats) == N_GLOBAL_STATS * 8 &&
	       sizeof(struct ckv_space_stats) == N_SPACE_STATS * 8,
	       "counters are 8 bytes each");

static uint64_t clock_read(clockid_t clock, uint64_t unit_ns)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) / unit_ns;
}

bool stats_pid_stopped(uint32_t pid)
{
	char path[32], text[512];
	const char *state;
	size_t n;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = '\0';
	/* "pid (name) S ...": the name may hold brackets, the rest does not. */
	state = strrchr(text, ')');
	return state && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

static void copy_space(struct shot_space *to, struct ckv_space_row *row,
		       struct ckv_space_stats *stats)
{
	const _Atomic uint64_t *word = (const _Atomic uint64_t *)stats;

	memcpy(&to->row, row, sizeof to->row);
	text_clean(to->row.name, row->name, sizeof to->row.name);
	text_clean(to->row.policy, row->policy, sizeof to->row.policy);
	text_clean(to->row.geometry.model, row->geometry.model,
		   sizeof to->row.geometry.model);
	to->known = stats != NULL;
	for (uint32_t i = 0; stats && i < N_SPACE_STATS; i++)
		to->stat[i] = ckv_hint_load64(&word[i]);
}

static bool copy_client(struct shot_client *to, struct ckv_client_row *row,
			bool is_here)
{
	to->state = ckv_client_state(row);
	if (to->state == CKV_CLIENT_FREE)
		return false;
	to->pid = row->pid;
	to->uid = row->uid;
	to->gid = row->gid;
	to->attached_s = row->attached_s;
	to->spaces = ckv_hint_load64(&row->spaces);
	to->lanes = ckv_hint_load64(&row->lanes);
	to->pins = ckv_hint_load64(&row->pins);
	to->pages_lent = ckv_hint_load64(&row->pages_lent);
	to->requests = ckv_hint_load64(&row->requests);
	text_clean(to->name, row->name, sizeof to->name);
	to->stopped = is_here && stats_pid_stopped(to->pid);
	return true;
}

void shot_take(void *stats, const struct ckv_stats_head *head,
	       struct ckv_space_stats *const *spaces, uint32_t own_pid,
	       struct shot *ret)
{
	const _Atomic uint64_t *word = (void *)ckv_stats_global(stats);

	memset(ret, 0, sizeof *ret);
	ret->head = *head;
	text_clean(ret->head.version, head->version, sizeof head->version);
	text_clean(ret->head.loop, head->loop, sizeof head->loop);
	ret->alive = true;
	ret->taken_ns = clock_read(CLOCK_MONOTONIC, 1);
	ret->taken_s = clock_read(CLOCK_REALTIME, 1000000000);
	for (uint32_t i = 0; i < N_GLOBAL_STATS; i++)
		ret->global[i] = ckv_hint_load64(&word[i]);
	ret->n_spaces = head->n_spaces;
	ret->spaces = cli_alloc(head->n_spaces, sizeof *ret->spaces);
	for (uint32_t i = 0; i < head->n_spaces; i++)
		copy_space(&ret->spaces[i], ckv_stats_space(stats, i), spaces[i]);
	ret->clients = cli_alloc(head->n_client_rows, sizeof *ret->clients);
	for (uint32_t i = 0; i < head->n_client_rows; i++) {
		struct shot_client *to = &ret->clients[ret->n_clients];

		if (copy_client(to, ckv_stats_client(stats, head->n_spaces, i),
				own_pid != 0) &&
		    (own_pid == 0 || to->pid != own_pid))
			ret->n_clients++;
	}
}

void shot_free(struct shot *shot)
{
	free(shot->spaces);
	free(shot->clients);
	memset(shot, 0, sizeof *shot);
}

int watch_open(const char *path, struct watch *ret)
{
	struct observer *o = &ret->observer;
	int r = observer_open(path, o);

	if (r < 0)
		return r;
	ret->spaces = cli_alloc(o->head.n_spaces, sizeof *ret->spaces);
	ret->why = cli_alloc(o->head.n_spaces, sizeof *ret->why);
	for (uint32_t i = 0; i < o->head.n_spaces; i++) {
		char name[CKV_NAME_BYTES];

		memcpy(name, ckv_stats_space(o->stats, i)->name, sizeof name);
		name[sizeof name - 1] = '\0';
		r = observer_attach(o, name, CKV_ACCESS_STATS, &ret->spaces[i]);
		if (r < 0)
			snprintf(ret->why[i], sizeof ret->why[i], "%.255s", o->why);
	}
	return 0;
}

void watch_close(struct watch *watch)
{
	for (uint32_t i = 0; i < watch->observer.head.n_spaces; i++)
		observer_release(&watch->spaces[i]);
	free(watch->spaces);
	free(watch->why);
	observer_close(&watch->observer);
}

bool watch_same_pids(const struct watch *watch)
{
	const struct observer *o = &watch->observer;
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;

	/* Each must see the other under the number it has for itself. */
	if (getsockopt(o->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0 ||
	    (uint32_t)peer.pid != o->head.pid)
		return false;
	for (uint32_t i = 0; i < o->head.n_client_rows; i++) {
		struct ckv_client_row *row = ckv_stats_client(
			o->stats, o->head.n_spaces, i);

		if (ckv_client_state(row) != CKV_CLIENT_FREE &&
		    row->pid == (uint32_t)getpid())
			return true;
	}
	return false;
}

void watch_shot(struct watch *watch, struct shot *ret)
{
	struct observer *o = &watch->observer;
	struct ckv_space_stats **spaces = cli_alloc(o->head.n_spaces,
						    sizeof *spaces);

	for (uint32_t i = 0; i < o->head.n_spaces; i++)
		spaces[i] = watch->spaces[i].stats;
	shot_take(o->stats, &o->head, spaces,
		  watch_same_pids(watch) ? (uint32_t)getpid() : 0, ret);
	for (uint32_t i = 0; i < o->head.n_spaces; i++)
		memcpy(ret->spaces[i].why, watch->why[i], sizeof watch->why[i]);
	ret->alive = ckv_world_alive(o->world, o->welcome.epoch);
	free(spaces);
}

int stats_once(const char *path, struct shot *ret)
{
	struct watch watch;

	if (watch_open(path, &watch) < 0)
		return cli_fail("%s", watch.observer.why);
	watch_shot(&watch, ret);
	watch_close(&watch);
	return CLI_OK;
}

json_t *stats_global_json(const struct shot *shot)
{
	json_t *json = json_object();

	for (uint32_t i = 0; i < N_GLOBAL_STATS; i++)
		json_object_set_new(json, global_stat_help[i].name,
				    json_integer((json_int_t)shot->global[i]));
	return json;
}

json_t *stats_space_json(const struct shot_space *space)
{
	json_t *json;

	if (!space->known)
		return json_null();
	json = json_object();
	for (uint32_t i = 0; i < N_SPACE_STATS; i++)
		json_object_set_new(json, space_stat_help[i].name,
				    json_integer((json_int_t)space->stat[i]));
	return json;
}
