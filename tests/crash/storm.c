/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.c - the storm's processes: started, killed, counted; and what they tell.
 */
#include "tests/crash/storm.h"
#include "tests/crash/storm_client.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const storm_space[STORM_SPACES] = { "tokens", "engine" };

void storm_config(char *text, size_t size, const char *pool)
{
	snprintf(text, size,
		 "[space tokens]\nmodel = t\nlayers = 2\nkv_heads = 2\n"
		 "head_dim = 32\nblock_tokens = 16\ndtype = f32\npool = %s\n"
		 "[space engine]\nmodel = e\nlayers = 2\nkv_heads = 2\n"
		 "head_dim = 32\nblock_tokens = 16\ndtype = f32\npool = %s\n"
		 "keys = engine\nviews = 25%%\nslab = 512K\n", pool, pool);
}

struct storm *storm_create(const char *socket, int n_clients, uint64_t seed)
{
	struct storm *storm = mmap(NULL, sizeof *storm, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (storm == MAP_FAILED)
		abort();
	strncpy(storm->socket, socket, sizeof storm->socket - 1);
	storm->n_clients = n_clients;
	storm->seed = seed;
	return storm;
}

uint64_t storm_draw(uint64_t *random)
{
	uint64_t x = *random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

void storm_tell(struct storm *storm, const char *format, ...)
{
	va_list args;

	if (storm->wrong.n++ != 0)
		return;
	va_start(args, format);
	vsnprintf(storm->wrong.text, sizeof storm->wrong.text, format, args);
	va_end(args);
	storm->wrong.told = 1;
}

void storm_start(struct storm *storm, int i)
{
	uint32_t life = storm->n_lives++;
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid != 0) {
		storm->pid[i] = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(RAW_BROKEN);
	storm_client(storm, i, storm->seed ^ (uint64_t)life << 32);
}

void storm_kill(struct storm *storm, int i)
{
	int status = 0;

	if (storm->pid[i] <= 0)
		return;
	kill(storm->pid[i], SIGKILL);
	waitpid(storm->pid[i], &status, 0);
	storm->pid[i] = 0;
	/* Nothing but this signal ends a client. */
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		storm_tell(storm, "client %d ended by itself, status %x", i,
			   (unsigned)status);
}

void storm_sum(const struct storm *storm, struct storm_counts *ret)
{
	const size_t n = sizeof *ret / sizeof(_Atomic uint64_t);
	_Atomic uint64_t *to = (void *)ret;

	memset((void *)ret, 0, sizeof *ret);
	for (int i = 0; i < storm->n_clients; i++)
		for (int t = 0; t < STORM_THREADS; t++) {
			const _Atomic uint64_t *from =
				(const void *)&storm->counts[i][t];

			for (size_t k = 0; k < n; k++)
				ckv_count(&to[k], ckv_hint_load64(&from[k]));
		}
}

static bool adds_up(const struct raw *raw)
{
	return RAW_GLOBAL(raw, clients) == 1 && RAW_GLOBAL(raw, lanes) == 0 &&
	       RAW_SPACE(raw, pages_lent) == 0 &&
	       RAW_SPACE(raw, unsummed) == 0 &&
	       RAW_SPACE(raw, pages_free) + RAW_SPACE(raw, blocks) ==
	       RAW_SPACE(raw, pages_total);
}

bool storm_adds_up(const char *socket, const char *space, char *ret_text,
		   size_t size)
{
	struct raw raw;
	bool ok;

	raw_open(&raw, socket);
	raw_attach(&raw, space, CKV_ACCESS_READ);
	for (int i = 0; i < RAW_WAIT_MS && !adds_up(&raw); i++)
		raw_nap();
	ok = adds_up(&raw);
	if (!ok)
		snprintf(ret_text, size, "%s: clients %d (1), lanes %d (0), "
			 "lent %d (0), unsummed %d (0), free %d + blocks %d of %d",
			 space,
			 (int)RAW_GLOBAL(&raw, clients),
			 (int)RAW_GLOBAL(&raw, lanes),
			 (int)RAW_SPACE(&raw, pages_lent),
			 (int)RAW_SPACE(&raw, unsummed),
			 (int)RAW_SPACE(&raw, pages_free),
			 (int)RAW_SPACE(&raw, blocks),
			 (int)RAW_SPACE(&raw, pages_total));
	raw_close(&raw);
	return ok;
}
