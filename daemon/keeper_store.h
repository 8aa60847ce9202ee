/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper_store.h - the descriptors that a keeper holds, and the socket on which they come.
 */
#ifndef CKV_KEEPER_STORE_H
#define CKV_KEEPER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#define STORE_NAME_BYTES	256u		/* of a name with its end, as in systemd */
#define STORE_NAMES_BYTES	(128u * 1024)	/* the kernel takes no longer text at exec */
#define STORE_MESSAGE_BYTES	4096u
#define STORE_FIRST_FD		3		/* of those that a daemon gets */

struct kept {
	int fd;
	dev_t device;
	ino_t inode;
	char name[STORE_NAME_BYTES];
};

struct store {
	int epoll;		/* the caller's; what is watched has its number as data.fd */
	int notify;		/* the socket */
	char folder[96];	/* where it lies; a socket has a name of 107 letters at most */
	char env_notify[sizeof(struct sockaddr_un) + 16];	/* NOTIFY_SOCKET=... */
	char env_names[STORE_NAMES_BYTES];			/* LISTEN_FDNAMES=... */

	struct kept *kept;	/* in the order in which they came */
	unsigned int n_kept, max_kept;
	size_t names_bytes;
	int base;		/* their numbers begin here */
};

/* What a daemon sent: lines, each with a 0 at its end. */
struct message {
	size_t bytes;
	char text[STORE_MESSAGE_BYTES + 1];
};

/* 0, or -1 with errno set; then store_close() too must be called. `epoll` stays open. */
int store_open(struct store *s, int epoll);
void store_close(struct store *s);

enum store_got { STORE_NOTHING, STORE_REFUSED, STORE_TAKEN };

/*
 * Take one message from the socket and do what it says of descriptors. STORE_TAKEN: process
 * `from` sent it, and the caller looks for the rest in `ret_message`.
 */
enum store_got store_receive(struct store *s, pid_t from, struct message *ret_message);

/* Its next line, where `line` is the one before, or NULL. NULL: there are no more. */
const char *message_line(const struct message *m, const char *line);
bool message_has(const struct message *m, const char *line);

/* The other end of a watched descriptor is gone: it is kept no longer. */
void store_hung_up(struct store *s, int fd);

/* Write the names of all for a daemon that is about to be started. */
void store_name_all(struct store *s);

/* In a child: make them 3 and up, open for a program. 0 or -1; async-signal-safe. */
int store_pass(const struct store *s);

/* One line to stderr. */
__attribute__((format(printf, 1, 2)))
void keeper_say(const char *format, ...);

#endif
