/*
 * lib.h - what libckv is made of inside.
 *
 *   struct ckv          connection: one control socket, its spaces
 *   struct lib_link     one daemon's life as seen from here: socket, world page
 *   struct lib_maps     one attachment of a space under one link: index, pool
 *   struct ckv_space    a space across restarts; its maps are replaced
 *   struct ckv_lane     one thread's rings and pins; moves to new maps by itself
 *
 * Locks: `ckv->lock` guards the socket, the lists, every reference count and
 * the mapping of slabs. A lane's own fields belong to its thread; a lookup that
 * meets a living daemon takes no lock. `space->lock` guards the copies of
 * geometry and secret that outlive an attachment; it is taken last.
 *
 * A mapping is never replaced in place: a lane holds a reference to the maps it
 * works on, and keeps old ones in `olds` until what was handed out of them
 * (pins, lent pages) has come back.
 */
#ifndef CKV_LIB_H
#define CKV_LIB_H

#include "client/ckv.h"
#include "proto/ckv_attach.h"
#include "proto/ckv_ops.h"
#include "proto/ckv_pin.h"

#include <pthread.h>

#define LIB_CALL_TIMEOUT_MS	10000	/* a reply on the control socket */
#define LIB_REATTACH_NS		100000000 /* between two tries */
#define LIB_SPIN_MIN_NS		5000	/* before a waiting thread sleeps */
#define LIB_SPIN_MAX_NS		100000

struct lib_link {
	unsigned refs;
	const struct ckv_world *world;
	uint64_t epoch;
};

struct lib_maps {
	unsigned refs;
	uint64_t serial;	/* of the attachment; what a pin remembers */
	struct lib_link *link;
	uint32_t space_id;
	struct ckv_index index;
	char *index_base;
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	char *read_base;	/* the pool, read-only */
	char *write_base;	/* the same range again for lent pages, or NULL */
	uint8_t *writable;	/* per slab: mapped at write_base */
	uint32_t n_slabs_mapped;
	int error;		/* why a slab could not be mapped */
	uint8_t secret[32];
};

/* What the socket is waiting for; one request at a time. */
enum lib_pending {
	LIB_IDLE, LIB_HELLO, LIB_ATTACH, LIB_SLABS, LIB_LANE, LIB_DONE,
};

struct ckv {
	pthread_mutex_t lock;
	const uint32_t *mine;	/* 1; reads 0 in a child after fork() */
	char *path;
	char program[CKV_NAME_BYTES];
	int event_fd;		/* epoll: holds the socket, whatever it is now */
	int sock;		/* -1: none */
	struct lib_link *link;	/* welcomed, or NULL */
	struct ckv_space *spaces;
	uint64_t serial;	/* last one given to maps */
	int64_t last_try_ns;	/* of reattaching */

	enum lib_pending pending;
	int pending_error;	/* how the last pending request ended */
	int undo_error;		/* of the attach that a pending DETACH undoes */
	char pending_text[232];	/* and what the daemon said about it */
	struct ckv_space *pending_space;
	struct ckv_lane *pending_lane;
	struct lib_maps *pending_maps;	/* being filled with slabs */
	uint64_t why_serial;	/* tells connections apart in ckv_why() */
};

struct ckv_space {
	struct ckv *ckv;
	struct ckv_space *next;
	struct ckv_lane *lanes;
	struct lib_maps *maps;	/* newest */
	char name[CKV_NAME_BYTES];
	uint32_t access;
	enum ckv_want again;	/* what must be equal when it is attached again */
	int64_t last_try_ns;	/* of attaching it again */
	pthread_mutex_t lock;
	struct ckv_geometry geometry;
	struct ckv_pool_shape pool;
	uint8_t secret[32];
};

/* One opened lane's two segments, mapped. */
struct lib_segments {
	struct lib_maps *maps;	/* NULL: nothing here */
	struct ckv_lane_shape shape;
	char *c_base, *d_base;
	int kick_fd;
	uint32_t id;
};

/* Maps that a lane left and that something handed out still lies in. */
struct lib_old {
	struct lib_old *next;
	struct lib_maps *maps;
	uint32_t n_pins, n_lent;
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
	uint32_t n;
	uint32_t arg_offset, area_bytes;
	uint32_t next;		/* in the free list or the queue of the done */
	uint64_t sent;		/* tag on the wire: a number, and its place */
	uint64_t tag;		/* the caller's */
	long result;
	void *ret;		/* where the answers go, by op */
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
	uint32_t n_lent;		/* pages out, under `maps` */

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
	uint32_t n_sent;		/* ever */
	int64_t spin_ns;		/* adaptive */
	uint8_t armed;			/* asked for an event message */
	struct lib_args args;

	struct lib_old *olds;
	struct ckv_lane *next;
	struct ckv_space *space;
	struct ckv *ckv;
};

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
	uint32_t lending;	/* with page and epoch: its name at the daemon */
	uint32_t zero;
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

/* space.c: the secret of key derivation, as of now */
void lib_space_secret(const struct ckv_space *space, uint8_t ret_secret[32]);

/* why.c: remember a text for ckv_why(); returns `error`. */
int lib_why(const struct ckv *ckv, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* map.c */
int lib_map(int fd, size_t bytes, int writable, void **ret_base);
int lib_map_at(void *place, int fd, size_t bytes, int writable);
int lib_reserve_range(size_t bytes, char **ret_base);
void lib_unmap(const void *base, size_t bytes);
int lib_wipe_page(const uint32_t **ret_mine);
void lib_wipe_free(const uint32_t *mine);

/* conn.c, space.c: under ckv->lock */
int lib_conn_greet(struct ckv *ckv);
int lib_conn_ready(struct ckv *ckv);
int lib_refused(struct ckv *ckv, int error);

/* maps.c: under ckv->lock */
void lib_link_put(struct lib_link *link);
int lib_maps_new(struct ckv *ckv, const struct ckv_attached *msg,
		 const int *fds, struct lib_maps **ret_maps);
int lib_maps_add_slabs(struct lib_maps *maps, const struct ckv_slabs *msg,
		       const int *fds);
int lib_maps_add_write(struct lib_maps *maps, uint32_t slab, int fd);
void lib_maps_put(struct lib_maps *maps);

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
int lib_control_receive(int sock, int wait_ms, struct lib_packet *ret_packet);
void lib_packet_close(struct lib_packet *packet);

/* session.c: requests on the socket; under ckv->lock */
int lib_session_connect(struct ckv *ckv);
void lib_session_drop(struct ckv *ckv, int error);
int lib_session_pump(struct ckv *ckv);
int lib_session_finish(struct ckv *ckv);
int lib_session_attach(struct ckv_space *space, enum ckv_want want);
int lib_session_lane(struct ckv_lane *lane);
int lib_session_id(struct ckv *ckv, uint16_t type, uint32_t id);

/* reply.c: what a packet means; under ckv->lock */
int lib_reply(struct ckv *ckv, struct lib_packet *packet);

/* reattach.c */
int lib_refresh(struct ckv_lane *lane);
int lib_refresh_wait(struct ckv_space *space);

/* lane.c: under ckv->lock */
int lib_segments_map(struct lib_maps *maps, const struct ckv_lane_opened *msg,
		     const int *fds, struct lib_segments *ret_seg);
void lib_segments_unmap(struct lib_segments *seg);
int lib_lane_move(struct ckv_lane *lane);
void lib_lane_free(struct ckv_lane *lane);

/* old.c: what was handed out of maps that a lane has left */
void lib_lane_unpin_old(struct ckv_lane *lane, uint64_t serial);
int lib_lane_page_old(struct ckv_lane *lane, const void *data);

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
void lib_search(const struct ckv_index *index, const struct ckv_key *keys,
		uint32_t n_keys, struct lib_found *ret_found);

/* lookup.c: put a block into a pin word: only if in time; in any case; let go */
int lib_pin_take(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		 uint32_t *ret_word);
int lib_pin_settled(const struct ckv_lane *lane, uint32_t slot);
int lib_pin_claim(struct ckv_lane *lane, uint32_t slot, uint32_t generation,
		  uint32_t *ret_word);
void lib_pin_give(struct ckv_lane *lane, uint32_t word);

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
void lib_requests_reset(struct ckv_lane *lane);
void lib_requests_fail(struct ckv_lane *lane, int error);
long lib_request_collect(struct ckv_lane *lane, struct lib_request *request);
int64_t lib_now_ns(void);

/* write.c, answer.c: a completed request's answers to where its caller wants them */
void lib_abort_silently(struct ckv_lane *lane, const struct ckv_page *page);
struct ckv_page_name lib_page_name(const struct ckv_page *page);
long lib_answer(struct ckv_lane *lane, struct lib_request *request);

#endif
