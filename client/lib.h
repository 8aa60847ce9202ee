/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib.h - what libckv is made of inside.
 *
 *   struct ckv          connection: one control socket, its spaces
 *   struct lib_link     one daemon's life as seen from here: socket, world page
 *   struct lib_maps     one attachment of a space under one link: index
 *   struct lib_pool     the pages of a space, shared by attachments to the same memory
 *   struct ckv_space    a space across restarts; its maps are replaced
 *   struct ckv_lane     one thread's rings and pins; moves to new maps by itself
 *
 * Locks. `ckv->lock` guards the socket, the lists, every reference count and the mapping
 * of slabs. No thread waits for the daemon while it holds it, so a lane's thread may take
 * it. A thread that waits for the daemon (attach, open, close) first takes `ckv->turn`, so
 * there is one such thread at a time, and lets `ckv->lock` go while it waits. A lane's
 * own fields are used by its thread only; a lookup takes no lock while the daemon lives.
 * `space->lock` guards the copies of pool and secret that outlive an attachment; it is
 * taken last.
 *
 * No mapping is replaced where it is. A lane holds a reference to the maps that it uses,
 * and these hold one to their pool. When the lane moves to new ones it keeps the old ones
 * in `olds`, with its old C segment, until every pin and lent page that its caller has of
 * them is given back. If the new daemon has the memory of the one before, the new maps
 * have the same pool, so nothing of it is mapped or unmapped.
 *
 * A reply of the daemon can open something there: an attachment, a lane. Before the
 * request is sent a lib_bye is allocated, the message that closes it again. It is sent if
 * the reply cannot be used here or comes after its caller has given up.
 */
#ifndef CKV_LIB_H
#define CKV_LIB_H

#include "client/ckv.h"
#include "client/maps.h"
#include "client/sys.h"
#include "proto/ckv_attach.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_pin.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LIB_CALL_TIMEOUT_NS	10000000000 /* a reply on the control socket */
#define LIB_SLAB_WAIT_NS	100000000 /* a slab that was asked for again */
#define LIB_REATTACH_NS		100000000 /* between two tries to reattach */
#define LIB_SPIN_MIN_NS		5000	/* before a waiting thread sleeps */
#define LIB_SPIN_MAX_NS		100000

/*
 * The message that closes an attachment or a lane at the daemon. DETACH is for the daemon
 * that was attached to. LANE_CLOSE is for whichever there is now, since a daemon takes
 * over the lanes of the one before it, where it can.
 */
struct lib_bye {
	struct lib_bye *next;
	uint64_t epoch;		/* DETACH: of the daemon that holds the attachment */
	uint64_t id;		/* LANE_CLOSE: the lane's serial. DETACH: the space */
	uint16_t type;		/* CKV_LANE_CLOSE, CKV_DETACH */
};

/* What the socket is waiting for; one request at a time. */
enum lib_pending {
	LIB_IDLE, LIB_HELLO, LIB_ATTACH, LIB_SLABS, LIB_LANE, LIB_DONE,
};

/* A thread that waits for its request; on its stack. */
struct lib_wait {
	int done;
	int error;
	char text[232];		/* what the daemon said about it */
};

/*
 * The request on the socket that has no reply yet. When its waiter has given up, `space`
 * and `lane` are NULL: the reply is still read, and what it opened is closed again.
 */
struct lib_call {
	enum lib_pending pending;
	int error;		/* why the reply cannot be taken */
	struct lib_wait *wait;	/* NULL: no thread waits; a lane reads the reply later */
	struct ckv_space *space;
	struct ckv_lane *lane;
	struct lib_bye *bye;
	struct lib_maps *maps;	/* of an attach, being filled with slabs */
	uint32_t space_id, n_slabs, n_slabs_seen;
	uint32_t n_byes;	/* LIB_DONE: sent and not answered */
	struct lib_bye *sent;	/* LIB_DONE: these, oldest first */
};

/* When something may be asked again over the same connection; over another, at once. */
struct lib_try {
	int64_t next_ns;
	uint32_t connection;
};

struct ckv {
	pthread_mutex_t turn;
	pthread_mutex_t lock;
	const uint32_t *mine;	/* 1; reads 0 in a child after fork() */
	char *path;
	char program[CKV_NAME_BYTES];
	int event_fd;		/* epoll: the socket, whatever it is now, and: */
	int ready_fd;		/* eventfd: readable while n_ready > 0 */
	uint32_t n_ready;	/* lanes with an event not yet polled for */
	int sock;		/* -1: none */
	int quiet;		/* it does not make event_fd readable */
	struct lib_link *link;	/* welcomed, or NULL */
	struct ckv_space *spaces;
	uint32_t n_lanes;
	uint32_t n_calls;	/* threads that have or await the turn */
	struct lib_maps *dead_maps; /* unmapped when the lock is let go */
	struct lib_pool *dead_pools; /* so are these */
	struct lib_bye *byes;	/* to be sent, oldest first */
	uint32_t n_connections;	/* made so far */
	int64_t lost_ns;	/* when the first try to connect again was made; 0: attached */
	int64_t next_connect_ns;
	int64_t next_try_ns;	/* of anything, after a refusal */
	struct lib_call call;
	uint32_t n_refusals;	/* of requests nobody waited for */
	char refusal[232];	/* the last one's text */
	uint64_t why_serial;	/* tells connections apart in ckv_why() */
};

struct ckv_space {
	struct ckv *ckv;
	struct ckv_space *next;
	struct ckv_lane *lanes;
	struct lib_maps *maps;	/* newest */
	char name[CKV_NAME_BYTES];
	uint32_t access;
	uint32_t n_calls;	/* threads that open or close a lane */
	enum ckv_want again;	/* what must be equal when it is attached again */
	struct lib_try try;	/* of attaching it again */
	pthread_mutex_t lock;
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	uint8_t secret[32];
};

/* One opened lane's two segments, mapped. */
struct lib_segments {
	struct lib_maps *maps;	/* NULL: nothing here */
	struct lib_bye *bye;
	struct ckv_lane_shape shape;
	char *c_base, *d_base;
	int kick_fd;
	uint32_t id;
};

/* Pages that were handed out and have not come back, see lent.c. */
struct lib_lending {
	uint32_t page, lending;
	uint32_t slot, generation;	/* of its entry; CKV_NONE: scratch */
};

struct lib_lent_set {
	struct lib_lending *row;
	uint32_t n, n_rows;	/* n_rows: 0 or a power of two */
};

/* Maps that a lane has left, but that its caller's pins or lent pages still lie in. */
struct lib_old {
	struct lib_old *next;
	struct lib_maps *maps;
	struct lib_bye *bye;	/* closes the lane at the daemon */
	char *c_base;		/* its C segment, which has the pin words */
	size_t c_bytes;
	_Atomic uint64_t *pins;
	uint32_t n_pins;
	struct lib_lent_set lent;
};

/* Free stretches of the argument area, sorted by place. */
struct lib_stretch {
	uint32_t start, bytes;
};

struct lib_args {
	struct lib_stretch *gaps;
	uint32_t n_gaps, n_gaps_max;
};

struct lib_request {
	uint8_t op;		/* 0: free */
	uint8_t done;		/* completed, not yet collected */
	uint8_t waited;		/* of a waiting form: ckv_poll() leaves it */
	uint8_t lost;		/* its lane is gone: there is no answer */
	uint8_t silent;		/* nobody hears of its end */
	uint32_t n;
	uint32_t arg_offset, area_bytes;
	uint32_t next;		/* in the free list or the queue of the done */
	uint64_t sent;		/* tag on the wire: a number, and its place */
	uint64_t tag;		/* the caller's */
	long result;
	void *ret;		/* where the answers go, by op */
	int32_t *ret_last;	/* PUBLISH: the last page's status; NULL: unasked */
	struct ckv_pin *ret_pin; /* PREFETCH: NULL: unasked */
	unsigned lookup_flags;	/* PREFETCH with ret_pin */
};

struct ckv_lane {
	/* what a lookup touches */
	const uint32_t *mine;
	const struct ckv_world *world;	/* NULL: not attached */
	uint64_t epoch;
	struct ckv_index index;
	const char *read_base;
	struct ckv_pool_shape pool;
	uint32_t n_pages_host;
	struct ckv_c_head *c;
	_Atomic uint64_t *pins;
	_Atomic uint32_t *touches;
	uint32_t n_touches;
	uint32_t pin_high;
	uint32_t *pin_free;
	uint32_t n_pin_free;
	uint32_t n_pins_held;		/* pins out, under `maps` */
	struct lib_lent_set lent;	/* pages out, under `maps` */

	struct lib_maps *maps;		/* that of `seg` */
	struct ckv_d_head *d;
	struct lib_segments seg;	/* in use */
	struct lib_segments fresh;	/* opened, not yet moved to; ckv->lock */
	struct ckv_lane_map at;
	struct ckv_lane_shape shape;	/* asked for at open, then as granted */
	struct lib_old *spare_old;

	struct ckv_ring_end tx, rx;
	struct lib_request *requests;	/* n_slots */
	uint32_t free_request;		/* first of the list, or CKV_NONE */
	uint32_t done_first, done_last;	/* queue for ckv_poll(), or CKV_NONE */
	uint32_t n_open;		/* sent, not yet completed */
	uint32_t n_silent;		/* of these, silent ones */
	uint32_t n_sent;		/* ever */
	int64_t spin_ns;		/* adaptive */
	uint8_t armed;			/* asked for an event, which has not been polled for */
	uint8_t failed;			/* requests ended: the lane is of no use */
	uint8_t ready;			/* it has come; ckv->lock */
	uint32_t refusals_seen;
	struct lib_try try;		/* of opening it again */
	struct lib_args args;

	_Atomic uint32_t n_inside;	/* calls of it under way, one in the other */
	struct lib_old *olds;
	struct ckv_lane *next;
	struct ckv_space *space;
	struct ckv *ckv;
};

/*
 * Until the end of the C block that this stands in, the lane counts as used, and another
 * thread cannot close it.
 */
#define LIB_INSIDE(lane)						\
	_Atomic uint32_t *inside_ __attribute__((cleanup(lib_leave))) =	\
		lib_enter(lane)

static inline _Atomic uint32_t *lib_enter(const struct ckv_lane *lane)
{
	_Atomic uint32_t *n = (void *)(uintptr_t)&lane->n_inside;

	ckv_hint_store32(n, ckv_hint_load32(n) + 1);
	return n;
}

static inline void lib_leave(_Atomic uint32_t **inside)
{
	ckv_state_store32(*inside, ckv_hint_load32(*inside) - 1);
}

static inline int lib_lane_used(const struct ckv_lane *lane)
{
	return ckv_state_load32(&lane->n_inside) != 0;
}

/* The private words of a pin. */
struct lib_pin {
	uint32_t word[2];	/* pin words, CKV_NONE if unused */
	uint32_t generation;	/* of the deepest */
	uint32_t slot;
	uint64_t serial;	/* of the attachment; 0: nothing held */
};
_Static_assert(sizeof(struct lib_pin) == sizeof(((struct ckv_pin *)0)->private_),
	       "a pin's private words");

/* The private words of a lent page. */
struct lib_lent {
	uint32_t slot, generation;
	uint32_t lending;	/* with page, level and epoch: its name at the daemon */
	uint32_t level;
	uint64_t epoch;
	uint64_t serial;	/* of the attachment */
};
_Static_assert(sizeof(struct lib_lent) ==
	       sizeof(((struct ckv_page *)0)->private_),
	       "a page's private words");

static inline int lib_forked(const uint32_t *mine)
{
	return *mine == 0;
}

/* Is the daemon under which this lane is attached alive? */
static inline int lib_lane_alive(const struct ckv_lane *lane)
{
	return lane->world != NULL && ckv_world_alive(lane->world, lane->epoch);
}

/*
 * reattach.c: can this lane be used? Brings it to a living daemon where there is one,
 * without waiting. 0; -ESTALE: not now, so everything is a miss; -EPROTO: the
 * daemon closed it for good.
 */
int lib_lane_recover(struct ckv_lane *lane);

/* Wait for the answers that this needs, if a daemon is there, 100 ms at most. */
void lib_lane_await(struct ckv_lane *lane);

/* A call that waits for the daemon begins. */
static inline void lib_lane_settle(struct ckv_lane *lane)
{
	if (!lib_forked(lane->mine) &&
	    !(lib_lane_alive(lane) && ckv_lane_state(lane->d) == 0))
		lib_lane_await(lane);
}

static inline int lib_lane_ready(struct ckv_lane *lane)
{
	if (lib_lane_alive(lane) && ckv_lane_state(lane->d) == 0)
		return 0;
	return lib_lane_recover(lane);
}

/* space.c: the secret of key derivation, as of now */
void lib_space_secret(const struct ckv_space *space, uint8_t ret_secret[32]);

/* why.c: remember a text for ckv_why(); returns `error`. */
int lib_why(const struct ckv *ckv, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * A call failed for what its error says: no words of an earlier one are left beside
 * it. Those that say why there is no daemon stay, as it is the same reason.
 */
int lib_plain(const struct ckv *ckv, int error);

/*
 * conn.c: a number that nothing else of this process has or had, so connections,
 * and attachments of any of them, are told apart also after one was freed.
 */
uint64_t lib_next_serial(void);

/* lib_conn_ready(), lib_refused(): ckv->turn and ckv->lock are held */
void lib_lock(struct ckv *ckv);
void lib_unlock(struct ckv *ckv);

/* Begin and end of a call that waits: between them ckv->turn and ckv->lock are held. */
void lib_call_enter(struct ckv *ckv, struct ckv_space *space);
void lib_call_leave(struct ckv *ckv, struct ckv_space *space);
int lib_conn_ready(struct ckv *ckv, int64_t deadline_ns);
int lib_refused(struct ckv *ckv, const struct lib_wait *wait, int error);

/* The daemon that this connection was made to is gone: -ESTALE, whatever connect() said. */
static inline int lib_gone(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED ? -ESTALE : error;
}

/* space.c: under ckv->lock */
int lib_space_used(const struct ckv_space *space);
void lib_space_end(struct ckv_space *space);

/* slab.c: the write mapping of a lent page, asked for again if it was lost */
int lib_slab_get(struct ckv_lane *lane, uint32_t slab);

/* events.c: under ckv->lock */
void lib_event_came(struct ckv *ckv, uint32_t lane_id);
void lib_event_all(struct ckv *ckv);
void lib_event_taken(struct ckv_lane *lane);
void lib_event_quiet(struct ckv *ckv);
void lib_event_loud(struct ckv *ckv);

/* control.c: packets on the socket */
struct lib_packet {
	union {
		struct ckv_control_head head;
		struct ckv_welcome welcome;
		struct ckv_attached attached;
		struct ckv_slabs slabs;
		struct ckv_lane_opened lane;
		struct ckv_control_id id;
		struct ckv_refused refused;
		uint8_t bytes[CKV_CONTROL_BYTES_MAX];
	};
	uint32_t n_fds;
	int truncated;		/* this process has no room for descriptors */
	int fds[CKV_FDS_MAX];
};
int lib_control_connect(const char *path, int *ret_sock);
int lib_control_send(int sock, void *msg, size_t bytes, uint16_t type, int fd);
int lib_control_receive(int sock, struct lib_packet *ret_packet);
void lib_packet_close(struct lib_packet *packet);

/* session.c: requests on the socket; under ckv->lock */
int lib_session_connect(struct ckv *ckv, struct lib_wait *wait);
void lib_session_drop(struct ckv *ckv, int error);
int lib_session_pump(struct ckv *ckv);
int lib_session_attach(struct ckv_space *space, enum ckv_want want,
		       struct lib_wait *wait);
int lib_session_lane(struct ckv_lane *lane, struct lib_wait *wait);
void lib_session_bye(struct ckv *ckv, struct lib_bye **bye);
void lib_session_forget(struct ckv *ckv, const struct ckv_space *space,
			const struct ckv_lane *lane);
void lib_call_end(struct ckv *ckv, int error, const char *text);
int lib_bye_new(struct ckv *ckv, uint16_t type, struct lib_bye **ret_bye);
void lib_byes_free(struct ckv *ckv);

/* The same, and ckv->turn is held: ckv->lock is let go while they wait. */
extern int64_t lib_call_timeout_ns;	/* tests wait less */
int lib_session_idle(struct ckv *ckv, int64_t deadline_ns);
int lib_session_finish(struct ckv *ckv, struct lib_wait *wait,
		       int64_t deadline_ns);
void lib_session_end(struct ckv *ckv, int64_t deadline_ns);

/* reply.c: what a packet means; under ckv->lock */
int lib_reply(struct ckv *ckv, struct lib_packet *packet);

/* reattach.c */
extern int64_t lib_reattach_ns;		/* tests wait less */
int lib_refresh_wait(struct ckv_space *space, int64_t deadline_ns);

/* lane.c: under ckv->lock */
int lib_segments_map(struct lib_maps *maps, const struct ckv_lane_opened *msg,
		     const int *fds, struct lib_segments *ret_seg);
void lib_segments_leave(struct lib_segments *seg);
int lib_lane_move(struct ckv_lane *lane);
void lib_lane_free(struct ckv_lane *lane);
void lib_lane_end(struct ckv_lane *lane);

/* old.c: what was handed out of maps that a lane has left */
void lib_lane_unpin_old(struct ckv_lane *lane, const struct lib_pin *pin);
void lib_lane_end_olds(struct ckv_lane *lane);
void lib_segment_end(char *c_base, size_t c_bytes);
void lib_lane_forget_old(struct ckv_lane *lane, uint64_t serial, uint32_t page,
			 uint32_t lending);

/* lent.c: which pages are out */
int lib_lent_add(struct lib_lent_set *set, const struct lib_lending *lent);
int lib_lent_remove(struct lib_lent_set *set, uint32_t page, uint32_t lending);
void lib_lent_sweep(struct lib_lent_set *set, const struct ckv_index *index);
void lib_lent_free(struct lib_lent_set *set);
int lib_page_current(const struct ckv_lane *lane, const struct ckv_page *page);
int lib_space_writable(const struct ckv_lane *lane);	/* else -EACCES, and why */
struct ckv_page_name lib_page_name(const struct ckv_lane *lane,
				   const struct ckv_page *page);
void lib_page_forget(struct ckv_lane *lane, const struct ckv_page *page);
void lib_page_answered(struct ckv_lane *lane, const struct lib_request *request,
		       uint32_t i, int status);

/* search.c: what the index holds of a chain */
struct lib_hit {
	uint32_t at;		/* in the chain */
	uint32_t slot;
	struct ckv_block block;
};
struct lib_found {
	uint32_t n_at[CKV_LEVELS];	/* [CKV_LEVEL_REMOTE]: all */
	struct lib_hit last;		/* the deepest found */
};
#define LIB_PROBES 11		/* of one round */
#define LIB_WHOLE 20		/* so short a chain is asked for at once */
struct lib_search {		/* one that is made step by step */
	const struct ckv_key *keys;
	uint32_t lo, hi;	/* the first absent key is in [lo, hi] */
	uint32_t n;		/* probes that were asked for */
	uint32_t at[LIB_WHOLE];
	struct ckv_place place[LIB_WHOLE];
	struct ckv_place first;	/* of keys[0] */
	uint32_t n_places;	/* place[] has those of so many first keys */
};
void lib_search_begin(struct lib_search *s, const struct ckv_index *index,
		      const struct ckv_key *keys, uint32_t n_keys);
/* One round. 0: the range is empty, and the search may be ended. */
int lib_search_step(struct lib_search *s, const struct ckv_index *index);
void lib_search_end(struct lib_search *s, const struct ckv_index *index,
		    struct lib_found *ret_found);
/* All of it. */
void lib_search(struct lib_search *s, const struct ckv_index *index,
		const struct ckv_key *keys, uint32_t n_keys,
		struct lib_found *ret_found);

/* pin.c: pin a block; wait while it is judged; set a pin word unconfirmed; clear one */
int lib_pin_take(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		 uint32_t *ret_word);
int lib_pin_settled(const struct ckv_lane *lane, uint32_t slot);
int lib_pin_claim(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		  uint32_t *ret_word);
void lib_pin_give(struct ckv_lane *lane, uint32_t word);
/* The two halves of lib_pin_take(), with a ckv_pin_fence() between them. */
int lib_pin_put(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		uint32_t *ret_word);
int lib_pin_in_time(const struct ckv_lane *lane, uint32_t slot,
		    uint32_t generation);
/* A lookup's pin: make it empty; clear its words; hand it to the caller. */
void lib_pin_none(struct lib_pin *pin);
void lib_pin_give_all(struct ckv_lane *lane, struct lib_pin *pin);
void lib_pin_hold(struct ckv_lane *lane, struct lib_pin *pin);

/* lookup.c */
struct lib_chain {		/* one lookup as it goes on */
	const struct ckv_key *keys;
	uint32_t n_keys;
	struct ckv_handle *handles;
	struct lib_pin pin;
	struct lib_found found;
	struct lib_hit judged;		/* the last block that could not be pinned */
	int moved;			/* a block had lost its copy when its handle was made */
	struct lib_search search;
};
/* Are the arguments of a lookup what they may be? */
int lib_chain_ok(const struct lib_chain *c, size_t n_keys, unsigned flags,
		 const struct ckv_pin *pin);
long lib_lookup_none(struct lib_chain *c);
long lib_lookup_chain(struct ckv_lane *lane, struct lib_chain *c,
		      unsigned flags);
uint32_t lib_fill(struct ckv_lane *lane, struct lib_chain *c,
		  uint32_t n_found, unsigned flags);
void lib_claim(struct ckv_lane *lane, const struct lib_chain *c, unsigned flags);
void lib_found_none(struct lib_found *found);
void lib_hand_out(const struct lib_chain *c, long n, struct ckv_pin *ret_pin);

/* view.c */
int lib_view_judge(const struct ckv_geometry *g, const void *data, uint64_t bytes,
		   struct ckv_view *ret_view);

/* args.c */
int lib_args_init(struct lib_args *args, uint32_t bytes, uint32_t n_max);
void lib_args_free(struct lib_args *args);
int lib_args_take(struct lib_args *args, uint32_t bytes, uint32_t *ret_start);
void lib_args_give(struct lib_args *args, uint32_t start, uint32_t bytes);

/* request.c */
struct lib_request *lib_request_new(struct ckv_lane *lane, uint8_t op,
				    uint32_t area_bytes, int *ret_error);
void *lib_request_args(const struct ckv_lane *lane,
		       const struct lib_request *request);
const void *lib_request_answers(const struct ckv_lane *lane,
				const struct lib_request *request);
int lib_request_send(struct ckv_lane *lane, struct lib_request *request,
		     uint32_t arg_bytes, uint32_t n, uint8_t flags);
long lib_request_wait(struct ckv_lane *lane, struct lib_request *request);
void lib_request_turn(struct ckv_lane *lane, struct lib_request *request,
		      uint8_t op, size_t arg_bytes, uint32_t n);
void lib_requests_reset(struct ckv_lane *lane);
void lib_requests_fail(struct ckv_lane *lane, int error);
long lib_request_collect(struct ckv_lane *lane, struct lib_request *request);

/* answer.c: a completed request's answers to where its caller wants them */
long lib_answer(struct ckv_lane *lane, struct lib_request *request);
long lib_answer_none(struct lib_request *request);

#endif
