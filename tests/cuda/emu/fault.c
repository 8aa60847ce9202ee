/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - what a test wants to go wrong; see emu.h. */
#include "emu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_RULES	16u

/* At the n-th time that something is done, something happens. */
struct rule {
	char name[64];
	uint64_t n, n_seen;
	unsigned value;
	int on;			/* and each time after it */
};

enum list { FAIL, SLOW, LOSE, N_LISTS };
static struct rule rules[N_LISTS][N_RULES];

static pthread_mutex_t rules_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t n_calls;
static CUresult lost[EMU_MAX_DEVICES];

uint64_t emu_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text == NULL ? otherwise : strtoull(text, NULL, 0);
}

uint64_t emu_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* A rule that cannot be read would let a test pass that tests nothing. */
static void read_rules(struct rule *rule, const char *name)
{
	const char *text = getenv(name);

	for (unsigned i = 0; text != NULL && *text != '\0'; i++) {
		char on[2] = "";
		unsigned long long n;
		int used = 0;

		if (i == N_RULES ||
		    (sscanf(text, "%63[^:]:%llu:%u%n", rule[i].name, &n, &rule[i].value,
			    &used) != 3 &&
		     sscanf(text, "%63[^:]:%llu%1[+]:%u%n", rule[i].name, &n, on,
			    &rule[i].value, &used) != 4) || n == 0 ||
		    (text[used] != ',' && text[used] != '\0')) {
			fprintf(stderr, "emu: %s: cannot be read at '%s'\n", name, text);
			abort();
		}
		rule[i].n = n;
		rule[i].on = on[0] == '+';
		text += used + (text[used] == ',');
	}
}

__attribute__((constructor)) static void read_environment(void)
{
	read_rules(rules[FAIL], "CKV_EMU_FAIL");
	read_rules(rules[SLOW], "CKV_EMU_SLOW");
	read_rules(rules[LOSE], "CKV_EMU_LOSE");
}

/* The rule of a list whose time has come, or NULL. */
static const struct rule *due(enum list list, const char *name, int is_call)
{
	const struct rule *found = NULL;

	for (struct rule *r = rules[list]; r < rules[list] + N_RULES && r->n != 0; r++)
		if ((strcmp(r->name, name) == 0 || (is_call && strcmp(r->name, "*") == 0)) &&
		    (++r->n_seen == r->n || (r->on && r->n_seen > r->n)))
			found = r;
	return found;
}

static CUresult fault(const char *name, int is_call, int device)
{
	const struct rule *slow, *fail, *lose;

	pthread_mutex_lock(&rules_lock);
	n_calls += (uint64_t)is_call;
	slow = due(SLOW, name, is_call);
	fail = due(FAIL, name, is_call);
	lose = due(LOSE, name, is_call);
	pthread_mutex_unlock(&rules_lock);
	if (slow != NULL)
		nanosleep(&(struct timespec){ slow->value / 1000,
					      slow->value % 1000 * 1000000 }, NULL);
	if (lose != NULL)
		emu_lose(device, lose->value, name);
	return fail != NULL ? (CUresult)fail->value : CUDA_SUCCESS;
}

CUresult emu_work_fault(const char *name, int device)
{
	CUresult r = fault(name, 0, device);

	if (r != CUDA_SUCCESS)
		emu_lose(device, r, name);
	return emu_lost(device);
}

CUresult emu_lost(int device)
{
	return __atomic_load_n(&lost[device], __ATOMIC_ACQUIRE);
}

void emu_lose(int device, CUresult error, const char *why)
{
	CUresult none = CUDA_SUCCESS;

	if (__atomic_compare_exchange_n(&lost[device], &none, error, 0, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		fprintf(stderr, "emu: device %d is lost: error %u at %s\n", device, error, why);
	pthread_mutex_lock(&emu_lock);
	pthread_cond_broadcast(&emu_changed);
	pthread_mutex_unlock(&emu_lock);
}

uint64_t emu_n_calls(void)
{
	return n_calls;
}

/* Set by cuInit; a child of fork() is not the process that has called it. */
static pid_t process;

CUresult emu_enter(const char *name, enum emu_needs needs)
{
	CUcontext context = emu_context();
	CUresult r = fault(name, 1, context == NULL ? 0 : context->device);

	if (r != CUDA_SUCCESS || needs == EMU_NOTHING)
		return r;
	if (emu_in_host_function)
		return CUDA_ERROR_NOT_PERMITTED;
	if (process != getpid())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (context == NULL)
		return needs == EMU_CONTEXT ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
	return emu_lost(context->device);
}

CUresult cuInit(unsigned flags)
{
	EMU_ENTER("cuInit", EMU_NOTHING);
	if (flags != 0)
		return CUDA_ERROR_INVALID_VALUE;
	if (emu_n_devices() == 0)
		return CUDA_ERROR_NO_DEVICE;
	if (process != 0 && process != getpid())
		return CUDA_ERROR_NOT_INITIALIZED;
	if (process == 0 && !emu_heir_start())
		return CUDA_ERROR_OUT_OF_MEMORY;
	process = getpid();
	return CUDA_SUCCESS;
}
