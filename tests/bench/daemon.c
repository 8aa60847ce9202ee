/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.c - a private ckvd for the benchmark, and a client attached to it.
 */
#include "tests/bench/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 64, START_WAIT_MS = 120000 };

static bool write_config(const char *path, const char *socket,
			 const char *spaces)
{
	FILE *f = fopen(path, "w");

	if (f == NULL)
		return false;
	fprintf(f, "[daemon]\nsocket = %s\nsocket_mode = 0666\n\n%s", socket,
		spaces);
	return fclose(f) == 0;
}

bool daemon_start(struct bench *b, struct bench_daemon *d, bool small_pages,
		  uint64_t pool_bytes, const char **ret_why)
{
	char space[400];

	daemon_space(space, sizeof space, "bench", small_pages, pool_bytes);
	/* One client of these has more pins than others would leave it, and so has its user. */
	strcat(space, "max_pins_per_client = 131072\nmax_pins_per_user = 262144\n");
	return daemon_start_with(b, d, space, ret_why);
}

void daemon_space(char *text, size_t size, const char *name, bool small_pages,
		  uint64_t pool_bytes)
{
	snprintf(text, size,
		 "[space %s]\n"
		 "model = bench\n"
		 "layers = %d\n"
		 "kv_heads = %d\n"
		 "head_dim = %d\n"
		 "block_tokens = 16\n"
		 "dtype = bf16\n"
		 "views = 0\n"
		 "pool = %lluMiB\n\n",
		 name, small_pages ? 1 : 32, small_pages ? 1 : 8,
		 small_pages ? 64 : 128, (unsigned long long)(pool_bytes >> 20));
}

bool daemon_start_with(struct bench *b, struct bench_daemon *d,
		       const char *spaces, const char **ret_why)
{
	static int number;
	char config[128], binary[256];
	struct ckv *ckv;
	pid_t parent = getpid();

	snprintf(d->socket, sizeof d->socket, "%s/%d.sock", b->work_dir, number);
	snprintf(config, sizeof config, "%s/%d.conf", b->work_dir, number);
	snprintf(d->log, sizeof d->log, "%s/%d.log", b->work_dir, number++);
	snprintf(binary, sizeof binary, "%s/ckvd", b->bin_dir);
	if (!write_config(config, d->socket, spaces)) {
		*ret_why = "cannot write the configuration";
		return false;
	}
	fflush(NULL);
	d->pid = fork();
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, d->kept ? SIGTERM : SIGKILL);
		if (getppid() != parent || freopen(d->log, "w", stderr) == NULL)
			_exit(127);
		execl(binary, binary, "--config", config, d->kept ? "--keeper" : NULL,
		      (char *)NULL);
		_exit(127);
	}
	for (int ms = 0; ms < START_WAIT_MS; ms += 20) {
		if (ckv_open(d->socket, "ckv-bench", &ckv) == 0) {
			ckv_close(ckv);
			return true;
		}
		if (waitpid(d->pid, NULL, WNOHANG) == d->pid) {
			d->pid = 0;
			*ret_why = "ckvd did not start; see its own message with --check";
			return false;
		}
		usleep(20000);
	}
	daemon_stop(d);
	*ret_why = "ckvd took over two minutes to start";
	return false;
}

pid_t daemon_pid(const struct bench_daemon *d)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof peer;

	snprintf(to.sun_path, sizeof to.sun_path, "%.107s", d->socket);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		peer.pid = 0;
	close(fd);
	return peer.pid;
}

void daemon_stop(struct bench_daemon *d)
{
	if (d->pid <= 0)
		return;
	kill(d->pid, SIGTERM);
	waitpid(d->pid, NULL, 0);
	d->pid = 0;
}

int daemon_attach(const struct bench_daemon *d, uint32_t n_pins,
		  struct ckv **ret_ckv, struct ckv_space **ret_space,
		  struct ckv_lane **ret_lane)
{
	struct ckv_lane_options options = { .n_pins = n_pins };
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct ckv *ckv;
	int r;

	r = ckv_open(d->socket, "ckv-bench", &ckv);
	if (r < 0)
		return r;
	r = ckv_attach(ckv, "bench", NULL, CKV_WRITE, &space);
	if (r < 0)
		goto err_close;
	r = ckv_lane_open(space, &options, &lane);
	if (r < 0)
		goto err_close;
	*ret_ckv = ckv;
	*ret_space = space;
	*ret_lane = lane;
	return 0;

err_close:
	fprintf(stderr, "bench: %s: %s\n", ckv_strerror(r), ckv_why(ckv));
	ckv_close(ckv);
	return r;
}

int publish_chain(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys)
{
	static const uint64_t sums[BATCH];
	struct ckv_page pages[BATCH];

	for (size_t first = 0; first < n_keys; first += BATCH) {
		size_t n = n_keys - first < BATCH ? n_keys - first : BATCH;
		const uint8_t *parent = first ? keys + (first - 1) * 32 : NULL;
		long r;

		r = ckv_reserve(lane, parent, keys + first * 32, n, pages);
		if (r < 0)
			return (int)r;
		for (size_t i = 0; i < n; i++)
			if (pages[i].status != 0)
				return pages[i].status;
		r = ckv_publish(lane, pages, n, 16, CKV_SUMMED, sums, NULL, NULL);
		if (r < 0)
			return (int)r;
	}
	return 0;
}
