/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd.c - workers that meet on the same keys.
 */
#include "tests/crash/crowd.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct crowd *crowd_create(int n)
{
	struct crowd *crowd = mmap(NULL, sizeof *crowd, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (crowd == MAP_FAILED)
		abort();
	crowd->n = n;
	return crowd;
}

void crowd_destroy(struct crowd *crowd)
{
	for (int i = 0; i < crowd->n; i++)
		crowd_kill(crowd, i);
	munmap(crowd, sizeof *crowd);
}

void crowd_keys(uint32_t chain, struct ckv_key *ret_keys)
{
	for (uint32_t i = 0; i < CROWD_DEPTH; i++)
		ret_keys[i] = raw_key(0x1000 + chain, i);
}

uint64_t process_fds(pid_t pid)
{
	char path[64];
	uint64_t n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n;
}

/* ---- a worker ----------------------------------------------------------- */

struct worker {
	struct crowd *crowd;
	int i;
	struct ckv_lane *lane;
	size_t page_bytes;
	uint32_t random;
};

static uint32_t draw(struct worker *w)
{
	w->random = w->random * 1664525u + 1013904223u;
	return w->random >> 9;
}

/* Hold the pin while somebody asks for it. */
static void hold(struct worker *w, uint32_t chain)
{
	if (ckv_hint_load32(&w->crowd->hold[w->i]) == 0)
		return;
	ckv_hint_store32(&w->crowd->holding[w->i], chain + 1);
	while (ckv_hint_load32(&w->crowd->hold[w->i]) != 0)
		raw_nap();
	ckv_hint_store32(&w->crowd->holding[w->i], 0);
}

static void verify(struct worker *w, const struct ckv_key *keys,
		   const struct ckv_handle *handles, long n)
{
	for (long i = 0; i < n; i++)
		if (page_is_right(&keys[i], handles[i].data, w->page_bytes))
			ckv_count(&w->crowd->n_verified, 1);
		else
			ckv_count(&w->crowd->n_bad, 1);
}

/* Write what is missing of a chain after its first n_found blocks. Was it? */
static bool write_rest(struct worker *w, const struct ckv_key *keys, long n_found,
		       uint32_t depth)
{
	size_t n = depth - (size_t)n_found;
	struct ckv_page pages[CROWD_DEPTH];
	const uint8_t *parent = n_found ? keys[n_found - 1].byte : NULL;
	long lent = ckv_reserve(w->lane, parent, keys[n_found].byte, n, pages);
	size_t n_ok = 0;

	if (lent <= 0)
		return false;
	while (n_ok < n && pages[n_ok].status == 0) {
		page_fill(&keys[(size_t)n_found + n_ok], pages[n_ok].data,
			  w->page_bytes);
		n_ok++;
	}
	if (n_ok < (size_t)lent || draw(w) % 8 == 0) {
		for (size_t i = n; i-- > 0; )
			if (pages[i].status == 0)
				(void)ckv_abort(w->lane, &pages[i], 1, NULL);
		return false;
	}
	if (ckv_publish(w->lane, pages, n_ok, 1, draw(w) % 2 ? CKV_SUM : 0, NULL, NULL,
			NULL) != (long)n_ok)
		return false;
	ckv_count(&w->crowd->n_written, n_ok);
	return true;
}

static void work_once(struct worker *w)
{
	uint32_t chain = draw(w) % CROWD_CHAINS;
	uint32_t depth = 1 + draw(w) % CROWD_DEPTH;
	struct ckv_key keys[CROWD_DEPTH];
	struct ckv_handle handles[CROWD_DEPTH];
	struct ckv_pin pin;
	bool useful;
	long found;

	crowd_keys(chain, keys);
	found = ckv_lookup(w->lane, keys[0].byte, depth, 0, handles, &pin);
	if (found < 0) {
		raw_nap();
		return;
	}
	verify(w, keys, handles, found);
	if (found > 0)
		hold(w, chain);
	verify(w, keys, handles, ckv_pin_valid(w->lane, &pin) == 0 ? found : 0);
	ckv_unpin(w->lane, &pin);
	useful = found > 0;
	if (found < (long)depth)
		useful |= write_rest(w, keys, found, depth);
	ckv_count(&w->crowd->n_rounds[w->i], useful);
	if (draw(w) % 16 == 0 || !useful)
		raw_nap();
}

static void work(struct crowd *crowd, int i, const char *socket)
{
	struct worker w = { .crowd = crowd, .i = i,
			    .random = (uint32_t)getpid() * 2654435761u };
	struct ckv_space_info info;
	struct ckv_space *space;
	struct ckv *ckv;

	if (ckv_open(socket, "crowd", &ckv) < 0 ||
	    ckv_attach(ckv, "tiny", NULL, CKV_WRITE, &space) < 0 ||
	    ckv_lane_open(space, NULL, &w.lane) < 0)
		_exit(RAW_BROKEN);
	ckv_space_get_info(space, &info);
	w.page_bytes = info.page_bytes;
	for (;;)
		work_once(&w);
}

void crowd_start(struct crowd *crowd, int i, const struct test_daemon *daemon)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0) {
		crowd->pid[i] = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	work(crowd, i, daemon->socket);
}

void crowd_kill(struct crowd *crowd, int i)
{
	if (crowd->pid[i] <= 0)
		return;
	kill(crowd->pid[i], SIGKILL);
	waitpid(crowd->pid[i], NULL, 0);
	crowd->pid[i] = 0;
	ckv_hint_store32(&crowd->holding[i], 0);
}

uint64_t crowd_rounds(const struct crowd *crowd, int except)
{
	uint64_t n = 0;

	for (int i = 0; i < crowd->n; i++)
		if (i != except)
			n += ckv_hint_load64(&crowd->n_rounds[i]);
	return n;
}

int crowd_advances(const struct crowd *crowd, int except, uint64_t n)
{
	uint64_t from = crowd_rounds(crowd, except);

	for (int i = 0; i < 2 * RAW_WAIT_MS; i++) {
		if (crowd_rounds(crowd, except) >= from + n)
			return 1;
		raw_nap();
	}
	return 0;
}
