/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon.h - the running daemon: its tables and who may change them.
 *
 * One thread, the reactor, owns all of this; workers see only the job they
 * were given (jobs.h). Every table is allocated at start, by the limits of the
 * configuration.
 *
 * A client's life:
 *
 *   CONNECTED  accepted, has not said who it is; closed after hello_timeout
 *   ATTACHED   its process is known and watched
 *   DETACHED   its socket is closed and its process lives: rings are served no
 *              more, but it may still read what it pinned and write what it was
 *              lent, so pins and lent pages stay until the process is dead, or says
 *              over a later connection that it is done with a lane
 *   ENDING     dead, or gone: its lanes are being taken down
 *   FREE       nothing of it is left
 *
 * A lane's life:
 *
 *   OPEN       served
 *   SHUT       its client lied, or detached: not served, state says why. Its pins
 *              count and its lent pages stay lent (the client may still be writing
 *              into them) until LANE_CLOSE, DETACH or the client's death. LANE_CLOSE
 *              may come over another connection of the same process, if detached
 *   ENDING     closed, or its client is dead: pins count no more, what was lent is taken
 *              back some pages a turn. Its number and its client's are not used again
 *              before that is over
 *   FREE
 *
 * Work is counted in units (core/state.h: an item is one to three, of about 50 ns). A
 * client has work_per_turn of them in each turn, for all its lanes; a request that is
 * not over then goes on in later turns, and the lane's other requests wait in its ring.
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

/* Largest list of a request, copied: 1024 keys and a parent. */
#define ARGUMENT_BYTES	(64u << 10)
#define TICK_NS		1000000000u
#define CLIENT_GROUPS_MAX 256u
#define TOKENS_MAX	64	/* reports taken from the loop at once */

/* Work units of what the shell does itself. */
#define UNITS_REQUEST	1	/* taken, judged, answered */
#define UNITS_CALL	30	/* a system call: a futex is woken */
#define UNITS_MESSAGE	80	/* one that sends */
#define UNITS_METHOD	60	/* a method's text is read, a view's name made */

/* What a report of the loop is about: kind 8 | generation 24 | index 32. */
enum watch_kind {
	WATCH_LISTEN = 1, WATCH_SIGNAL, WATCH_JOBS, WATCH_SOCKET, WATCH_DEATH,
	WATCH_LANE,
};

static inline uint64_t watch_token(enum watch_kind kind, uint32_t generation,
				   uint32_t index)
{
	return (uint64_t)kind << 56 | (uint64_t)(generation & 0xffffff) << 32 |
	       index;
}

struct served_space {		/* a space that clients attach, and its memory */
	struct config_space *config;
	struct ckv_geometry geometry;	/* the configuration's, and the weights of now */
	bool weights_known;		/* somebody named them */
	struct space *core;
	struct pool pool;
	struct memory index, records, stats_memory;
	struct ckv_space_stats *stats;
	uint64_t index_huge_bytes;
	struct space_pace pace;		/* of its scans */
	uint64_t step_debt;		/* what its last step left */
	uint64_t n_pins;		/* words of all lanes */
	char compress_text[CKV_METHOD_TEXT_BYTES]; /* of automatic views; empty: none yet */
};

enum lane_state { LANE_FREE, LANE_OPEN, LANE_SHUT, LANE_ENDING };

/* The request of a lane that is being done, from its slot to its completion. */
struct run {
	bool on;
	bool ended;			/* the core's part of it, with `result` */
	int result;
	struct ckv_req request;
	struct space_task task;
	uint32_t n_sent;		/* RESERVE: for so many answers slabs were sent */
	struct job *job;		/* COMPRESS: its chain is being listed */
};

struct lane {
	enum lane_state state;
	uint32_t generation;
	uint32_t client, space;
	int number;			/* of the space's core */
	uint32_t access;		/* enum ckv_access */
	int eventfd;
	struct memory c, d;
	struct ckv_c_head *c_head;	/* read-only here */
	struct ckv_d_head *d_head;
	struct ckv_lane_shape shape;
	struct ckv_lane_map map;
	struct ckv_ring_end requests, completions;
	uint32_t event_seen;
	uint32_t n_jobs;
	uint32_t next, prev;		/* of its client's lanes, a ring, unless ENDING */
	uint32_t next_ending;
	uint32_t asker, asker_generation; /* ENDING: the client that waits; CKV_NONE */
	struct run run;
	size_t area_bytes;		/* of each of these two */
	unsigned char *argument, *answer; /* of the request that is being done */
	bool completed;			/* since its client was last woken */
	uint64_t claim[CKV_CLAIMS];	/* as folded into the stats so far */
	uint32_t n_pins_used, n_pins_counting; /* when they were last counted */
};

struct attachment {
	uint32_t access;		/* enum ckv_access; 0: not attached */
	bool holds_weights;		/* nobody may name others meanwhile */
	uint64_t n_pins;		/* words of its lanes */
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
	struct user *user;		/* unless FREE */
	bool readable;			/* the socket has not said -EAGAIN yet */
	bool bare;			/* no descriptor was ever in its socket */
	uint64_t since_ns;
	uint64_t n_requests;
	uint32_t n_lanes;		/* ENDING ones, too */
	uint32_t n_ending;
	uint32_t turn_lane;		/* the one that is served next; CKV_NONE */
	uint32_t serving_place;		/* in daemon.serving, if turn_lane is a lane */
	uint32_t owed;			/* units taken beyond its share of the last turn */
	bool sparse;			/* it had nothing more to ask when its share was not used up */
	uint32_t n_awaited;		/* lanes whose end it waits for: then CKV_DONE */
	uint32_t n_fds_unread;		/* at most; sent and perhaps not received */
	uint32_t n_slabs_left;		/* to be sent before the next message is read ... */
	uint32_t slabs_space;		/* ... of this space */
	struct attachment *attached;	/* [n_spaces] */
	uint64_t *slab_bits;		/* what attached[].slab_sent point into */
};

struct jobs;
struct closer;
struct leaving;
struct placement;
struct user;

struct daemon {
	struct config *config;
	const char *config_path;
	struct loop *loop;
	uint64_t epoch;
	uint64_t started_ns, now_ns, tick_ns, polled_ns, worked_ns;
	uint64_t spin_ns, turn;
	bool stop;

	int listen_fd, lock_fd, signal_fd;
	bool accepting;			/* the listener has not said -EAGAIN yet */
	bool sockets_wait;		/* so it is, or a client's socket */
	bool rights_refused;		/* new connections may bring no descriptors */
	uint32_t next_client;		/* whose message comes first */
	struct leaving *leaving;	/* leave.h */
	uint32_t n_leaving;
	struct closer *closer;
	bool worked;			/* since the clock was last looked at */
	struct memory world_memory, stats_memory;
	struct ckv_world *world;
	struct ckv_global_stats *stats;

	struct placement *placement;	/* NULL: not bound */
	struct served_space *served;	/* [n_spaces] */
	uint32_t n_spaces;
	struct client *client;		/* [max_clients] */
	uint32_t n_clients_max, n_clients;
	uint32_t n_mute;		/* connections that have said nothing */
	struct user *user;		/* [n_users_max], users.h */
	uint64_t *user_pins;		/* what user[].n_pins point into */
	uint32_t n_users_max;
	uint64_t input_bytes;		/* of all jobs' inputs */
	uint32_t n_fds_max;		/* descriptors this process may have */
	struct lane *lane;		/* [max_lanes] */
	uint32_t n_lanes_max, n_lanes;
	uint32_t *serving;		/* [n_serving]: clients that have lanes */
	uint32_t n_serving, first_served, next_sparse;
	uint32_t ending_head, ending_tail; /* lanes, through next_ending; CKV_NONE */
	struct space_pace pace;		/* of all spaces' long scans together */
	bool step_wanted;		/* somebody waits for a space's step */
	uint32_t next_host, next_drain;	/* whose step is next, whose touches */
	uint32_t next_row, next_pin;	/* what the tick has not come to: stats.c */
	struct jobs *jobs;
};

/* ---- start and stop: daemon.c, listen.c ---- */

/*
 * Bring everything up: memory, spaces, workers, the socket. The caller owns
 * *ret_daemon, and config with it. -errno: said in the log, nothing is left.
 */
int daemon_start(struct config *config, const char *config_path,
		 struct daemon **ret_daemon);
void daemon_destroy(struct daemon *d);		/* NULL is allowed */

struct budget_given;

/*
 * Judge all that a start judges before it makes anything, and make nothing: 0, or one
 * of the errors, which have been said in the log. *ret_given: what the machine gives.
 */
int daemon_check(struct config *config, struct budget_given *ret_given);

/*
 * Everything about the socket that may refuse: its group, its directory, another
 * daemon. From then on it is ours. -errno: said in the log.
 */
int listen_claim(struct daemon *d);
/* The same without taking it. *ret_pid: who serves there now; 0: nobody, or unknown. */
int listen_look(const struct daemon *d, pid_t *ret_pid);
/* Be connected to. */
int listen_open(struct daemon *d);
void listen_close(struct daemon *d);

/* ---- the reactor: reactor.c, signals.c ---- */

/* Serve until a signal says stop. 0, or -errno when the loop broke. */
int reactor_run(struct daemon *d);
int signals_open(struct daemon *d);
void signals_read(struct daemon *d);
void tick(struct daemon *d);

/* ---- clients: accept.c, clients.c, control.c ---- */

void clients_accept(struct daemon *d);
/* Messages and new connections that are known to wait: some of each a turn. */
void control_serve(struct daemon *d);
/* One message, or a part of a long answer. How much of a turn that was. */
uint32_t client_read(struct daemon *d, struct client *client);
void client_died(struct daemon *d, struct client *client);

/* Close the socket. What is left open decides whether the client is forgotten. */
void client_hang_up(struct daemon *d, struct client *client);
void client_forget(struct daemon *d, struct client *client);
/* A lane whose end it waits for has ended; a lane of its own has. */
void client_awaited(struct daemon *d, struct client *client);
void client_lane_ended(struct daemon *d, struct client *client);
/* Its place is free when its lanes have ended and nothing sent to it is in flight. */
void client_free(struct daemon *d, struct client *client);
struct client *client_by_token(struct daemon *d, uint64_t token);

/*
 * Have its process watched: by the kernel's pidfd, or, where there is none, by the one
 * in HELLO (*pidfd, then set to -1), which must name the process that connected.
 * `text` says what is wrong.
 */
int client_identify(struct client *client, uint32_t claimed_pid, int *pidfd,
		    char text[232]);
/* It says who it is, or leaves without. */
void client_count_known(struct daemon *d, struct client *client);

/* Send a message whose head this completes. -EAGAIN: the socket is full. */
int control_send(struct daemon *d, struct client *client, void *message,
		 size_t bytes, uint16_t type, const int *fds, uint32_t n_fds);
/* A slab, read-write, unless this client has it. 0 or -EAGAIN. */
int control_send_slab(struct daemon *d, struct client *client, uint32_t space,
		      uint32_t slab);

/* ---- lanes: lanes.c ---- */

/*
 * Make a lane of the granted shape: its number in d->lane, or -EMFILE, -ENOMEM,
 * ...; nothing changed.
 */
int lane_create(struct daemon *d, struct client *client, uint32_t space,
		const struct ckv_lane_shape *shape);
/* Closed, or its client is dead: the end begins. */
void lane_end(struct daemon *d, struct lane *lane);
/* The client that asked for it hears when it is over. */
void lane_await(struct daemon *d, struct lane *lane, struct client *client);
/* Go on with the ends of lanes, for one turn. Are there any? */
bool lanes_end(struct daemon *d);
/* Neither free nor ending? */
static inline bool lane_is_there(const struct lane *lane)
{
	return lane->state == LANE_OPEN || lane->state == LANE_SHUT;
}

/* No longer served; `why` is a positive errno the client can read. */
void lane_shut(struct daemon *d, struct lane *lane, uint32_t why);
/* The client broke the protocol: shut, counted, logged with what it did. */
void lane_lied(struct daemon *d, struct lane *lane, const char *what);
/* Take what its client counted into the space's stats. */
void lane_fold_claims(struct daemon *d, struct lane *lane);
/* Is there a request, and room for its completion? */
bool lane_ready(const struct lane *lane);
/* Room for one more completion, by what the client says it collected. */
bool lane_has_room(const struct lane *lane);
/* Put a completion; lane_flush() tells the client of all that were put, for so many units. */
void lane_complete(struct daemon *d, struct lane *lane,
		   const struct ckv_req *request, int32_t result);
int32_t lane_flush(struct daemon *d, struct lane *lane);

/* ---- requests: requests.c, turns.c ---- */

/* Do requests while *units is positive; what was done is subtracted. */
void lane_serve(struct daemon *d, struct lane *lane, int32_t *units);
/* The lane is no longer served: end the request that is being done. */
void lane_cancel(struct daemon *d, struct lane *lane);

/* Each client's share of a turn: the units that all of them took. */
uint32_t serve_clients(struct daemon *d);
bool any_lane_ready(const struct daemon *d);
/* What requests and jobs wait for: at most one step of one space. Was there one? */
bool serve_steps(struct daemon *d);
/* So many units went to others: it pays for scans. */
void pay_for_steps(struct daemon *d, uint32_t units);

/* ---- shown numbers: stats.c ---- */

int stats_create(struct daemon *d);
void stats_client(struct daemon *d, struct client *client, const char *name);
/* Show whose weights a space holds now. */
void stats_weights(struct daemon *d, uint32_t space);
void stats_tick(struct daemon *d);
/* Go on with what the tick has begun, a piece in each turn. Is there any? */
bool stats_turn(struct daemon *d);

#endif
