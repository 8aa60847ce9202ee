/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - the running daemon: its tables, and the functions that the shell's
 * files share. (Words such as lane, slab, turn and run: the glossary in
 * CONTRIBUTING.md.)
 *
 * One thread, the reactor, owns all of this. A worker thread sees only the job that
 * it was given (jobs.h). Every table is allocated at start, by the limits in the
 * configuration. A struct client is one connection of a process.
 *
 * States of a client:
 *
 *   CONNECTED  accepted, but it has not sent HELLO yet; after hello_timeout the
 *              daemon closes it
 *   ATTACHED   HELLO was answered: its process is known and watched
 *   DETACHED   its socket is closed, but its process lives and has lanes, which are
 *              SHUT. The process may still read pages that it pinned and write pages
 *              that were lent to it, so both stay until it dies, or closes the lanes
 *              over a later connection. So is a client of before, which was attached
 *              to an earlier daemon, and whose memory this one has taken over
 *   ENDING     its process is dead or has given all back; waits until its lanes have
 *              ended and no descriptor that was sent to it is unread in the socket
 *   FREE       this entry of the table is unused
 *
 * States of a lane:
 *
 *   OPEN       its requests are served
 *   SHUT       its client broke the protocol or closed the socket; d_head tells the
 *              client why. Requests are not served. Its pins count and its lent
 *              pages stay lent, as the client may still use them, until LANE_CLOSE,
 *              DETACH or the client's death. If the client is DETACHED, LANE_CLOSE
 *              may come over another connection of the same process. A lane of before
 *              is ended by the daemon when nothing is pinned or lent on it
 *   ENDING     closed, or its client is dead. Its pins count no more. Its lent pages
 *              are taken back, some in each turn; until that is done, neither this
 *              entry of the lane table nor its client's entry is used again
 *   FREE       this entry of the table is unused
 *
 * Work is counted in units of about 50 ns; an item of a request costs one to three
 * (core/state.h). In each turn the reactor does up to work_per_turn units for each
 * client, for all its lanes together. A request that is not finished by then goes on
 * in later turns; the lane's other requests wait in its ring.
 */
#ifndef CKV_DAEMON_H
#define CKV_DAEMON_H

#include "daemon/core/space.h"
#include "daemon/shell/config.h"
#include "daemon/shell/loop.h"
#include "daemon/shell/memory.h"
#include "proto/ckv_attach.h"
#include "proto/ckv_world.h"

#include <sys/types.h>

/* No argument of a request is larger: 1024 keys and a parent. */
#define ARGUMENT_BYTES	(64u << 10)
#define TICK_NS		1000000000u
#define CLIENT_GROUPS_MAX 256u	/* supplementary groups of a client that are looked at */
#define TOKENS_MAX	64	/* reports taken from the loop at once */

/* Costs in work units of what the shell itself does. */
#define UNITS_REQUEST	1	/* take a request, judge its slot, answer it */
#define BYTES_PER_UNIT	512u	/* of an argument that is copied */
#define UNITS_CALL	30	/* a system call that wakes a futex */
#define UNITS_MESSAGE	80	/* a system call that sends a message */
#define UNITS_METHOD	60	/* parse a method, hash the name of a view */

/* A watch's token says what its reports are about: kind 8 | generation 24 | index 32. */
enum watch_kind {
	WATCH_LISTEN = 1, WATCH_SIGNAL, WATCH_JOBS, WATCH_SOCKET, WATCH_DEATH,
	WATCH_LANE, WATCH_STORE,
};

static inline uint64_t watch_token(enum watch_kind kind, uint32_t generation,
				   uint32_t index)
{
	return (uint64_t)kind << 56 | (uint64_t)(generation & 0xffffff) << 32 |
	       index;
}

#define SERVED_HOST 0u	/* the level of the host's memory, as the core's index */

/* A space that clients can attach to. */
struct served_space {
	struct config_space *config;
	struct ckv_geometry geometry;	/* as configured, with the weights held now */
	bool weights_known;		/* `geometry` has a weights' fingerprint */
	struct space *core;
	struct pool pool;
	struct memory index, records, stats_memory;
	struct ckv_space_stats *stats;
	uint64_t index_huge_bytes;
	struct memory nodes;		/* the core's, in large pages if there are */
	bool nodes_kept;		/* they were an earlier daemon's */
	struct space_pace pace;		/* limits the time that its scans take */
	uint64_t step_debt;		/* what its last step added to the pace's debt */
	uint64_t n_pins;		/* pin words of all its lanes */
	char compress_text[CKV_METHOD_TEXT_BYTES]; /* method of automatic views; empty: none */
	uint64_t seed[4];		/* of the index */
	uint64_t fingerprint;		/* of `geometry` */
	uint32_t ledger_row;		/* of its row in the ledger; CKV_NONE: it has none */
	bool adopted;			/* pool and records were an earlier daemon's */
};

enum lane_state { LANE_FREE, LANE_OPEN, LANE_SHUT, LANE_ENDING };

/* A lane's current request, from its slot in the ring to its completion. */
struct run {
	bool on;			/* there is a current request */
	bool ended;			/* the core has ended its task, with `result` */
	int result;
	struct ckv_req request;
	struct space_task task;
	uint32_t n_sent;		/* RESERVE: answers whose slabs the client has */
	struct job *job;		/* COMPRESS: while the chain is being listed */
};

struct lane {
	enum lane_state state;
	uint32_t generation;
	uint64_t serial;		/* names it at this daemon and all later ones */
	uint32_t client, space;		/* indexes of daemon.client, daemon.served */
	int number;			/* the core's number of this lane */
	uint32_t access;		/* enum ckv_access */
	int eventfd;			/* the client writes it to wake the reactor; -1: of before */
	struct memory c, d;		/* the segments that client and daemon write; of before: no d */
	struct arena *arena;		/* c is a part of it: */
	uint32_t part;
	uint32_t ledger_row;		/* of its row in the ledger; CKV_NONE: it has none */
	struct ckv_c_head *c_head;	/* mapped read-only here */
	struct ckv_d_head *d_head;	/* NULL: of before */
	struct ckv_lane_shape shape;
	struct ckv_lane_map map;
	struct ckv_ring_end requests, completions;
	uint32_t event_seen;		/* event_arm when the last EVENT was sent */
	uint32_t first_wait;		/* row of a request that completes later (waits.h); CKV_NONE */
	uint32_t n_waits;		/* completions that its rows owe */
	uint32_t n_jobs;		/* of these, compressions */
	uint32_t next, prev;		/* ring of its client's lanes, unless ENDING */
	uint32_t next_ending;		/* ENDING: the next in the daemon's queue */
	uint32_t asker, asker_generation; /* ENDING: the client to tell of the end; CKV_NONE */
	struct run run;
	size_t area_bytes;		/* of each of the next two */
	unsigned char *argument, *answer; /* private copies for the current request */
	bool completed;			/* completions were put since lane_flush() */
	uint64_t claim[CKV_CLAIMS];	/* the client's counters as last seen */
	uint32_t n_pins_used;		/* pin words in use, as last counted */
	uint32_t n_pins_counting;	/* the same, of the count that is under way */
};

/* What a client has of one space. */
struct attachment {
	uint32_t access;		/* enum ckv_access; 0: not attached */
	bool holds_weights;		/* nobody may name other weights meanwhile */
	uint64_t n_pins;		/* pin words of its lanes */
	uint64_t *slab_sent;		/* bit i: slab i was sent read-write */
};

enum client_state {
	CLIENT_FREE, CLIENT_CONNECTED, CLIENT_ATTACHED, CLIENT_DETACHED,
	CLIENT_ENDING,
};

struct client {
	enum client_state state;
	uint32_t generation;
	int socket, pidfd;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	struct user *user;		/* NULL if FREE */
	bool readable;			/* reading the socket has not given -EAGAIN yet */
	bool bare;			/* no descriptor can be in its socket (leave.h) */
	uint64_t since_ns;		/* when it connected */
	uint64_t n_requests;
	uint32_t n_lanes;		/* including ENDING ones */
	uint32_t n_ending;		/* of these, ENDING */
	uint32_t turn_lane;		/* the lane that is served next; CKV_NONE: no lane */
	uint32_t serving_place;		/* its index in daemon.serving, if it has a lane */
	uint32_t owed;			/* units beyond its shares, to be paid with the next ones */
	bool sparse;			/* it used less than its share when last served */
	uint32_t n_awaited;		/* lanes that must end before DONE is sent to it */
	uint32_t n_fds_unread;		/* descriptors sent to it, and perhaps not received */
	uint32_t n_slabs_left;		/* slabs to send before reading its next message ... */
	uint32_t slabs_space;		/* ... of this space */
	struct attachment *attached;	/* [n_spaces] */
	uint64_t *slab_bits;		/* memory of attached[].slab_sent */
	struct arena *arenas;		/* C segments of its lanes (arena.h) */
	uint32_t opening;		/* a lane whose LANE_OPENED waits for the store; CKV_NONE */
	uint64_t ticket;		/* ... until this is done (store.h) */
	uint64_t serial;		/* under which its pidfd is stored; 0: it is not */
	uint32_t ledger_row;		/* of its row in the ledger; CKV_NONE: it has none */
	bool noted;			/* the row is written */
};

struct jobs;
struct waits;
struct closer;
struct leaving;
struct placement;
struct user;
struct store;
struct ledger;
struct adopt;

struct daemon {
	struct config *config;
	const char *config_path;
	struct loop *loop;
	uint64_t epoch;			/* differs from that of every other start */
	uint64_t next_serial;		/* of a lane: counts up from the epoch */
	uint64_t started_ns, now_ns;	/* now_ns: the clock as last read */
	uint64_t tick_ns;		/* when the next tick is due */
	uint64_t polled_ns, worked_ns;	/* when the loop was asked, when there was work */
	uint64_t spin_ns;		/* without work for so long, the reactor sleeps */
	uint64_t turn;			/* turns so far */
	bool stop;

	int listen_fd, lock_fd, signal_fd;
	bool accepting;			/* accept() has not given -EAGAIN yet */
	bool ready_unsaid;		/* the manager's queue was full */
	bool sockets_wait;		/* a connection or a message may be waiting */
	bool rights_refused;		/* new connections cannot bring descriptors (leave.h) */
	uint32_t next_client;		/* whose message is read first in the next turn */
	struct leaving *leaving;	/* [n_leaving] sockets to close, leave.c */
	uint32_t n_leaving;
	struct closer *closer;
	bool worked;			/* there was work since the clock was last read */
	struct memory world_memory, stats_memory;
	struct ckv_world *world;
	struct ckv_global_stats *stats;

	struct placement *placement;	/* NULL: not bound to a NUMA node */
	struct served_space *served;	/* [n_spaces] */
	uint32_t n_spaces;
	struct client *client;		/* [n_client_rows]: max_clients, then those of before */
	uint32_t n_client_rows;
	uint32_t n_clients_max, n_clients;
	uint32_t n_mute;		/* connections that have not sent HELLO */
	struct user *user;		/* [n_users_max], users.h; the last are of before */
	uint64_t *user_pins;		/* memory of user[].n_pins */
	uint32_t n_users_max;
	uint64_t input_bytes;		/* inputs that all jobs have copied or will copy */
	uint32_t n_fds_max;		/* descriptors that this process may have open */
	struct lane *lane;		/* [n_lane_rows]: max_lanes, then those of before */
	uint32_t n_lane_rows;
	uint32_t n_lanes_max, n_lanes;	/* n_lanes: without those of before */
	uint32_t *serving;		/* [n_serving] clients that have lanes to serve */
	uint32_t n_serving;
	uint32_t first_served;		/* in serving: who is served first in this turn */
	uint32_t next_sparse;		/* in serving: where to look for a sparse client */
	uint32_t ending_head, ending_tail; /* queue of ENDING lanes; CKV_NONE: empty */
	struct space_pace pace;		/* limits long scans of all spaces together */
	bool step_wanted;		/* a task or a job waits for a space's step */
	uint32_t last_stepped, last_drained;	/* last space with a step; with touches read */
	uint32_t next_row, next_pin;	/* how far stats_turn() has come: stats.c */
	struct jobs *jobs;
	struct waits *waits;		/* waits.h */
	struct store *store;		/* NULL: nothing outlives the daemon (keep.h) */
	struct ledger *ledger;		/* NULL: the same */
	bool store_lost;		/* it was said that the store is broken */
	struct adopt *adopt;		/* at start: what an earlier daemon left (adopt.h) */
	uint32_t n_old_clients, n_old_lanes; /* of before, that were taken over */
	uint32_t n_old_open;		/* of these lanes, those that have not ended */
};

/* ---- start and stop: daemon.c, listen.c ---- */

/*
 * Start everything: memory, spaces, workers, the socket. The caller owns *ret_daemon,
 * which owns config. -errno: the log says why, and nothing is left behind.
 */
int daemon_start(struct config *config, const char *config_path,
		 struct daemon **ret_daemon);
void daemon_destroy(struct daemon *d);		/* NULL is allowed */

struct budget_given;

/*
 * Judge what a start judges before it takes anything, and take nothing: 0, or the first
 * error; the log has all of them. *ret_given: what the machine gives.
 */
int daemon_check(struct config *config, struct budget_given *ret_given);

/*
 * Do everything about the socket that can fail: its group, its directory, the lock
 * that another daemon may have. Then this daemon has the lock. -errno: the log says why.
 */
int listen_claim(struct daemon *d);
/* The same without taking the lock. *ret_pid: the daemon that has it; 0: none, or unknown. */
int listen_look(const struct daemon *d, pid_t *ret_pid);
/* Create the socket and listen. */
int listen_open(struct daemon *d);
void listen_close(struct daemon *d);

/* ---- the reactor: reactor.c, signals.c ---- */

/* Serve until a signal says stop: 0. -errno: the loop failed. */
int reactor_run(struct daemon *d);
int signals_open(struct daemon *d);
void signals_read(struct daemon *d);
void tick(struct daemon *d);

/* ---- clients: accept.c, clients.c, control.c ---- */

/* Was it attached to an earlier daemon, and not to this one? */
static inline bool client_is_old(const struct daemon *d, const struct client *client)
{
	return client - d->client >= (ptrdiff_t)d->n_clients_max;
}

void clients_accept(struct daemon *d);
/* Read some of the messages that wait in clients' sockets, and answer them. */
void control_serve(struct daemon *d);
/* Read one message, or send on with a long answer. Returns its share of a turn. */
uint32_t client_read(struct daemon *d, struct client *client);
/* The client's process has ended. */
void client_died(struct daemon *d, struct client *client);

/* Close the socket: then the client is DETACHED if it has lanes, else forgotten. */
void client_hang_up(struct daemon *d, struct client *client);
/* End its lanes and its attachments, and close its descriptors. */
void client_forget(struct daemon *d, struct client *client);
/* The daemon stops: close its descriptors, after lane_drop() of its lanes. */
void client_drop(struct daemon *d, struct client *client);
/* A lane whose end it waits for has ended: send DONE after the last one. */
void client_awaited(struct daemon *d, struct client *client);
/* One of its own lanes has ended. */
void client_lane_ended(struct daemon *d, struct client *client);
/*
 * Free its entry if its lanes have ended and no descriptor that was sent to it is still
 * unread in its socket; else it is ENDING, and the tick tries again.
 */
void client_free(struct daemon *d, struct client *client);
/* The client that a watch's token names; NULL if it has ended meanwhile. */
struct client *client_by_token(struct daemon *d, uint64_t token);

/*
 * Get a pidfd of the client's process: the kernel's for this socket or, where the
 * kernel has none (before Linux 6.5), the one that came with HELLO. That one must name
 * the process that connected; if it is kept, *pidfd is set to -1. -errno: `text` says
 * what is wrong.
 */
int client_identify(struct client *client, uint32_t claimed_pid, int *pidfd,
		    char text[232]);
/*
 * The process that a pidfd names, as its fdinfo says. 0: it is in a pid namespace that
 * this process does not see; -1: it has ended. -EINVAL: the descriptor is no pidfd.
 */
int client_pidfd_pid(int pidfd, pid_t *ret_pid);
/* It has sent HELLO, or ends without: count it among the mute ones no longer. */
void client_count_known(struct daemon *d, struct client *client);

/* Fill the message's head and send it. -EAGAIN: the socket is full. */
int control_send(struct daemon *d, struct client *client, void *message,
		 size_t bytes, uint16_t type, const int *fds, uint32_t n_fds);
/* Send a slab read-write, unless this client has it already. 0 or -EAGAIN. */
int control_send_slab(struct daemon *d, struct client *client, uint32_t space,
		      uint32_t slab);

/* ---- lanes: lanes.c ---- */

/*
 * Make a lane of the granted shape: its index in d->lane, or -EMFILE, -ENOMEM or
 * another -errno.
 */
int lane_create(struct daemon *d, struct client *client, uint32_t space,
		const struct ckv_lane_shape *shape);
/* A lane of before, whose memory is not mapped yet: it is SHUT. -errno: it is FREE. */
int lane_adopt(struct daemon *d, struct client *client, struct lane *lane);
/* Begin to end a lane that is closed or whose client is dead. */
void lane_end(struct daemon *d, struct lane *lane);
/* The daemon stops: free what is in this process, and leave the rest as it is. */
void lane_drop(struct lane *lane);
/* Tell this client when the lane has ended. */
void lane_await(struct daemon *d, struct lane *lane, struct client *client);
/* One turn's work on ENDING lanes. False: there are none. */
bool lanes_end(struct daemon *d);
static inline bool lane_is_there(const struct lane *lane)
{
	return lane->state == LANE_OPEN || lane->state == LANE_SHUT;
}

/* Stop serving a lane; `why` is a positive errno that the client can read. */
void lane_shut(struct daemon *d, struct lane *lane, uint32_t why);
/* The client broke the protocol: shut the lane, count it, log what the client did. */
void lane_lied(struct daemon *d, struct lane *lane, const char *what);
/* Add what the client counted itself to the space's stats. */
void lane_fold_claims(struct daemon *d, struct lane *lane);
/* Is there a current request, or one in the ring and room for its completion? */
bool lane_ready(const struct lane *lane);
/* Is there room for one more completion, by what the client says it has taken? */
bool lane_has_room(const struct lane *lane);
/* Put a completion into the ring. */
void lane_complete(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request, int32_t result);
/* Wake the client if completions were put and it wants that. Returns the cost in units. */
int32_t lane_flush(struct daemon *d, struct lane *lane);

/* ---- requests: requests.c, turns.c ---- */

/* Serve requests while *units is positive, and subtract what that costs. */
void lane_serve(struct daemon *d, struct lane *lane, int32_t *units);
/* End the current request of a lane that is served no longer. */
void lane_cancel(struct daemon *d, struct lane *lane);

/* Give each client its share of a turn. Returns the units used by all. */
uint32_t serve_clients(struct daemon *d);
bool any_lane_ready(const struct daemon *d);
/* Make at most one step, of one space whose tasks or jobs wait for it. Was one made? */
bool serve_steps(struct daemon *d);
/* Pay the debts that scans left, with units that went to other work. */
void pay_for_steps(struct daemon *d, uint32_t units);

/* ---- shown numbers: stats.c ---- */

int stats_create(struct daemon *d);
/* Write the client's row; name: NULL keeps the one that is there. */
void stats_client(struct daemon *d, struct client *client, const char *name);
/* Show the fingerprint of the weights that a space holds now. */
void stats_weights(struct daemon *d, uint32_t space);
void stats_tick(struct daemon *d);
/* Go on with the count that the tick has begun, some in each turn. False: it is done. */
bool stats_turn(struct daemon *d);

#endif
