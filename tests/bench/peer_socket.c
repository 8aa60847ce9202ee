/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peer_socket.c - one byte there and back over a UNIX socket: what any daemon
 * without shared memory pays at least.
 */
#include "tests/bench/bench.h"

#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void echo(int fd)
{
	char byte[64];

	for (;;) {
		ssize_t n = read(fd, byte, sizeof byte);

		if (n <= 0 || write(fd, byte, (size_t)n) != n)
			_exit(0);
	}
}

void bench_socket(struct bench *b)
{
	struct bench_sample s;
	char message[64] = { 0 };
	int fd[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0) {
		bench_why(b, "unix_socket_roundtrip_ns_p50", "socketpair failed");
		return;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		close(fd[0]);
		echo(fd[1]);
	}
	close(fd[1]);
	sample_init(&s, b->quick ? 5000 : 20000);
	for (size_t i = 0; i < s.size; i++) {
		uint64_t t = now_ns();

		if (write(fd[0], message, sizeof message) < 0 ||
		    read(fd[0], message, sizeof message) < 0)
			break;
		sample_add(&s, (double)(now_ns() - t));
	}
	bench_add(b, "unix_socket_roundtrip_ns_p50", sample_percentile(&s, 50));
	sample_free(&s);
	close(fd[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
