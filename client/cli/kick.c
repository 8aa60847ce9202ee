/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick.c - `ckv kick`: end a client, and see what it held come back.
 *
 * The pidfd is opened before the client table is read. A process that is in the
 * table after that is the one the pidfd names: a row goes milliseconds after its
 * process, long before a process number comes round again. The signal goes
 * through the pidfd, with the authority of whoever runs this. The numbers are the
 * daemon's: from another pid namespace they name other processes, or none.
 */
#include "client/cli/cli.h"
#include "client/cli/progress.h"
#include "client/cli/stats.h"
#include "client/cli/text.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KICK_WAIT_MS = 10000, KICK_LOOK_MS = 5 };

static const struct shot_client *find_client(const struct shot *shot,
					     uint32_t pid)
{
	for (uint32_t i = 0; i < shot->n_clients; i++)
		if (shot->clients[i].pid == pid)
			return &shot->clients[i];
	return NULL;
}

static uint64_t pages_taken_back(const struct shot *shot)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < shot->n_spaces; i++)
		n += shot->spaces[i].stat[SPACE_aborted_by_death];
	return n;
}

/*
 * Until its row is gone, which is when all is taken back; what was is read after that.
 * 0, -EIO when the daemon died, -ETIMEDOUT.
 */
static int wait_gone(struct watch *watch, uint32_t pid, uint64_t *ret_aborted)
{
	bool gone = false, seen_gone, alive;

	for (int ms = 0; ms < KICK_WAIT_MS; ms += KICK_LOOK_MS) {
		struct shot shot;

		watch_shot(watch, &shot);
		seen_gone = gone;
		gone = find_client(&shot, pid) == NULL;
		alive = shot.alive;
		*ret_aborted = pages_taken_back(&shot);
		shot_free(&shot);
		if (!alive)
			return -EIO;
		if (seen_gone)
			return 0;
		progress_sleep(KICK_LOOK_MS);
	}
	return -ETIMEDOUT;
}

static int signal_client(int pidfd, uint32_t pid)
{
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0)
		return CLI_OK;
	if (errno == EPERM)
		return cli_fail("you may not end process %u: it belongs to another "
				"user. Its owner or root may.", pid);
	if (errno == ESRCH)
		return CLI_OK;
	return cli_fail("process %u could not be signalled: %s", pid,
			strerror(errno));
}

static int report(const struct cli *cli, const struct shot_client *client,
		  uint64_t aborted)
{
	char lanes[TEXT_SHORT], pins[TEXT_SHORT], pages[TEXT_SHORT];

	if (cli->json)
		return text_json(json_pack("{s:I, s:s, s:I, s:I, s:I, s:I}",
			"pid", (json_int_t)client->pid, "name", client->name,
			"lanes", (json_int_t)client->lanes,
			"pins", (json_int_t)client->pins,
			"pages_lent", (json_int_t)client->pages_lent,
			"pages_taken_back", (json_int_t)aborted));
	printf("%s (%u) is gone: %s closed, %s dropped, %s taken back\n",
	       client->name, client->pid, text_count(lanes, client->lanes, "lane"),
	       text_count(pins, client->pins, "pin"),
	       text_count(pages, aborted, "lent page"));
	return CLI_OK;
}

static int kick(const struct cli *cli, struct watch *watch, int pidfd,
		uint32_t pid)
{
	struct pollfd dead = { .fd = pidfd, .events = POLLIN };
	const struct shot_client *client;
	struct shot shot;
	uint64_t aborted = 0;
	int r;

	watch_shot(watch, &shot);
	client = find_client(&shot, pid);
	if (client == NULL || poll(&dead, 1, 0) > 0) {
		r = cli_fail("process %u is not a client of this daemon. "
			     "'ckv clients' lists them.", pid);
		goto free_shot;
	}
	r = signal_client(pidfd, pid);
	if (r != CLI_OK)
		goto free_shot;
	switch (wait_gone(watch, pid, &aborted)) {
	case 0:
		r = report(cli, client, aborted - pages_taken_back(&shot));
		break;
	case -EIO:
		r = cli_fail("%u was sent SIGKILL, but the daemon is gone too", pid);
		break;
	default:
		r = cli_fail("%u was sent SIGKILL, but after %d s the daemon still "
			     "lists it; a process in uninterruptible sleep dies "
			     "only when it wakes", pid, KICK_WAIT_MS / 1000);
	}
free_shot:
	shot_free(&shot);
	return r;
}

int cmd_kick(const struct cli *cli)
{
	char *end;
	unsigned long pid = strtoul(cli->args[0], &end, 10);
	struct watch watch;
	int r, pidfd;

	if (*end || cli->args[0][0] < '1' || cli->args[0][0] > '9' ||
	    pid > 1u << 30) {
		cli_fail("'%s' is not a process number", cli->args[0]);
		return CLI_USAGE;
	}
	if (watch_open(cli->socket, &watch) < 0)
		return cli_fail("%s", watch.observer.why);
	if (!watch_same_pids(&watch)) {
		watch_close(&watch);
		return cli_fail("the daemon is in another pid namespace, where %lu is "
				"another process. Run this where the daemon runs.",
				pid);
	}
	pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	if (pidfd < 0) {
		r = cli_fail(errno == ESRCH ? "there is no process %lu" :
			     "process %lu cannot be opened", pid);
	} else {
		r = kick(cli, &watch, pidfd, (uint32_t)pid);
		close(pidfd);
	}
	watch_close(&watch);
	return r;
}
