/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_attach.h - messages on the control socket (SOCK_SEQPACKET).
 *
 * Clients attach, get descriptors and detach over this socket; lookups and requests do
 * not use it. One message is one packet: a head, then the body that its type names. The
 * daemon answers each request of a client with one reply, in the order of the requests.
 * EVENT and SLAB_WRITE may come between two replies. SLAB_WANT has no other reply than
 * the slab.
 *
 *   client                               daemon
 *   HELLO   (+ own pidfd)            ->  WELCOME      + world, global stats
 *   ATTACH  name, geometry, how      ->  ATTACHED     + stats [index]
 *                                        SLABS ...    + slab descriptors, read-only
 *   LANE    space, shape             ->  LANE_OPENED  + C, D, eventfd
 *   LANE_CLOSE serial of a lane      ->  DONE
 *   DETACH  space, or all            ->  DONE
 *   SLAB_WANT slab                   ->  (SLAB_WRITE)
 *   RELOAD                           ->  DONE         keys that changed
 *                                        SLAB_WRITE   + one slab, read-write
 *                                        EVENT        something completed on a lane
 *
 * If the daemon refuses a request it answers REFUSED instead: an errno and a text that
 * names what is wrong. SLABS messages bring at most CKV_FDS_MAX descriptors each.
 *
 * The daemon sends a slab for writing (SLAB_WRITE) before the first completion that
 * lends a page in it. If the client could not map it, SLAB_WANT asks for it again.
 *
 * How a connection ends. The daemon watches the client's process by a pidfd; only when
 * that says so the client is dead, and everything it held is taken back. A socket that
 * closes while the process lives ends the connection alone: its lanes are not served any
 * more, but their pins and lent pages are kept, until the same process closes the lanes
 * (LANE_CLOSE) over a new connection, or dies. The daemon reads what was sent before the
 * socket was closed, so a client whose last message is DETACH of all leaves nothing.
 *
 * A lane has two names. `lane_id` is short, belongs to one connection and is used again.
 * `serial` is never used again, not even by the next daemon, so LANE_CLOSE can name a lane
 * that an earlier daemon opened. A daemon that knows nothing of such a lane answers DONE:
 * nothing is left of it there. So LANE_CLOSE may also be sent again after a connection was
 * lost before the answer came.
 *
 * RELOAD has the daemon read its configuration again, like SIGHUP, and tells what came of
 * it. It is only a head, may come before HELLO, and only of root and the daemon's own user.
 */
#ifndef CKV_ATTACH_H
#define CKV_ATTACH_H

#include "proto/ckv_lane.h"
#include "proto/ckv_space.h"

#define CKV_CONTROL_MAGIC	0x6d766b63u	/* "ckvm" */
#define CKV_CONTROL_BYTES_MAX	512u
#define CKV_FDS_MAX		253u	/* SCM_MAX_FD */
#define CKV_DEFAULT_SOCKET	"/run/ckv/ckvd.sock"

enum ckv_control_type {
	CKV_HELLO = 1, CKV_WELCOME, CKV_ATTACH, CKV_ATTACHED, CKV_SLABS,
	CKV_SLAB_WRITE, CKV_LANE_OPEN, CKV_LANE_OPENED, CKV_LANE_CLOSE,
	CKV_DETACH, CKV_DONE, CKV_EVENT, CKV_REFUSED, CKV_SLAB_WANT,
	CKV_RELOAD,
};

struct ckv_control_head {
	uint32_t magic;
	uint16_t protocol_version;
	uint16_t type;		/* enum ckv_control_type */
	uint32_t n_fds;		/* descriptors that come with it */
	uint32_t n_bytes;	/* of the whole message */
};
CKV_AT(struct ckv_control_head, magic, 0, 4);
CKV_AT(struct ckv_control_head, protocol_version, 4, 2);
CKV_AT(struct ckv_control_head, type, 6, 2);
CKV_AT(struct ckv_control_head, n_fds, 8, 4);
CKV_AT(struct ckv_control_head, n_bytes, 12, 4);
CKV_SIZE(struct ckv_control_head, 16);

struct ckv_hello {
	struct ckv_control_head head;
	uint32_t layout_version;
	uint32_t pid;		/* the sender's; looked at before Linux 6.5 only */
	char	 name[CKV_NAME_BYTES]; /* of the program, for people */
};
CKV_AT(struct ckv_hello, layout_version, 16, 4);
CKV_AT(struct ckv_hello, pid, 20, 4);
CKV_AT(struct ckv_hello, name, 24, 64);
CKV_SIZE(struct ckv_hello, 88);

struct ckv_welcome {
	struct ckv_control_head head;
	uint32_t layout_version;
	uint32_t n_spaces;
	uint64_t epoch;
	char	 version[CKV_NAME_BYTES];
};
CKV_AT(struct ckv_welcome, layout_version, 16, 4);
CKV_AT(struct ckv_welcome, n_spaces, 20, 4);
CKV_AT(struct ckv_welcome, epoch, 24, 8);
CKV_AT(struct ckv_welcome, version, 32, 64);
CKV_SIZE(struct ckv_welcome, 96);

enum ckv_access {
	CKV_ACCESS_STATS = 1,	/* the space's stats only */
	CKV_ACCESS_READ	 = 2,	/* index and pool */
	CKV_ACCESS_WRITE = 3,	/* and lent pages */
};

/*
 * Which fields of the geometry must be equal to the space's.
 *
 * A space that is empty, and of which no attached client has named the weights, takes
 * the weights of the next client that names some: SAME names those of its geometry,
 * ANY of a writer names zeros. SHAPE, and ANY of a reader, name none.
 */
enum ckv_want {
	CKV_WANT_SAME  = 0,	/* all of them */
	CKV_WANT_ANY   = 1,	/* none: the space as it is */
	CKV_WANT_SHAPE = 2,	/* all but the weights: a reader that attached with ANY, again */
};

struct ckv_attach {
	struct ckv_control_head head;
	char	 space[CKV_NAME_BYTES];
	uint32_t access;	/* enum ckv_access */
	uint32_t any_geometry;	/* enum ckv_want */
	struct ckv_geometry geometry;
};
CKV_AT(struct ckv_attach, space, 16, 64);
CKV_AT(struct ckv_attach, access, 80, 4);
CKV_AT(struct ckv_attach, any_geometry, 84, 4);
CKV_AT(struct ckv_attach, geometry, 88, 336);
CKV_SIZE(struct ckv_attach, 424);

struct ckv_attached {
	struct ckv_control_head head;
	uint32_t space_id;	/* names the space on this connection */
	uint32_t n_buckets;
	struct ckv_geometry geometry; /* weights: as of now */
	struct ckv_pool_shape pool;
	uint8_t	 secret[32];	/* that keys are made with; zero for STATS */
};
CKV_AT(struct ckv_attached, space_id, 16, 4);
CKV_AT(struct ckv_attached, n_buckets, 20, 4);
CKV_AT(struct ckv_attached, geometry, 24, 336);
CKV_AT(struct ckv_attached, pool, 360, 40);
CKV_AT(struct ckv_attached, secret, 400, 32);
CKV_SIZE(struct ckv_attached, 432);

/* SLABS: descriptors of slabs first_slab .. first_slab + n_fds - 1. SLAB_WRITE, SLAB_WANT: of one. */
struct ckv_slabs {
	struct ckv_control_head head;
	uint32_t space_id;
	uint32_t first_slab;
};
CKV_AT(struct ckv_slabs, space_id, 16, 4);
CKV_AT(struct ckv_slabs, first_slab, 20, 4);
CKV_SIZE(struct ckv_slabs, 24);

struct ckv_lane_open {
	struct ckv_control_head head;
	uint32_t space_id;
	uint32_t zero;
	struct ckv_lane_shape shape; /* asked for; a field of 0: the daemon's default */
};
CKV_AT(struct ckv_lane_open, space_id, 16, 4);
CKV_AT(struct ckv_lane_open, zero, 20, 4);
CKV_AT(struct ckv_lane_open, shape, 24, 16);
CKV_SIZE(struct ckv_lane_open, 40);

struct ckv_lane_opened {
	struct ckv_control_head head;
	uint32_t lane_id;	/* names the lane on this connection */
	uint32_t zero;
	struct ckv_lane_shape shape; /* granted */
	uint64_t serial;	/* names the lane at this daemon and all later ones */
	uint64_t c_offset;	/* where the C segment begins in its descriptor's file */
};
CKV_AT(struct ckv_lane_opened, lane_id, 16, 4);
CKV_AT(struct ckv_lane_opened, zero, 20, 4);
CKV_AT(struct ckv_lane_opened, shape, 24, 16);
CKV_AT(struct ckv_lane_opened, serial, 40, 8);
CKV_AT(struct ckv_lane_opened, c_offset, 48, 8);
CKV_SIZE(struct ckv_lane_opened, 56);

struct ckv_lane_close {
	struct ckv_control_head head;
	uint64_t serial;
};
CKV_AT(struct ckv_lane_close, serial, 16, 8);
CKV_SIZE(struct ckv_lane_close, 24);

/*
 * `id` in EVENT: a lane on which a request completed, or which is served no more. In
 * DETACH: a space; CKV_NONE: all of them. In DONE: zero, or the number of keys that a
 * RELOAD changed.
 */
struct ckv_control_id {
	struct ckv_control_head head;
	uint32_t id;
	uint32_t zero;
};
CKV_AT(struct ckv_control_id, id, 16, 4);
CKV_AT(struct ckv_control_id, zero, 20, 4);
CKV_SIZE(struct ckv_control_id, 24);

/*
 * error:
 *   EPROTONOSUPPORT  the versions differ
 *   ENOENT           no such space
 *   EACCES           this user may not attach it, or not so
 *   EALREADY         this connection has attached the space already
 *   EINVAL           the geometry differs (the text names the field and both values), or
 *                    a field of the message is out of range
 *   EDQUOT           a lane with more slots, pins or bytes than the daemon allows
 *   EUSERS           the limit of clients is reached, or of lanes or pins of this user,
 *                    or of pins of this client or the space
 *   EMFILE           the limit of lanes is reached, or the daemon has no descriptor left
 *   ENOMEM           the daemon has no memory for it
 *   EBUSY            of a RELOAD: some keys need a restart; the others were taken over
 *                    (with any other error of a RELOAD nothing changed)
 *   EPROTO           not a message of this protocol, or not one that may come now; the
 *                    daemon closes the socket after it
 */
struct ckv_refused {
	struct ckv_control_head head;
	uint32_t error;		/* a positive errno */
	uint32_t zero;
	char	 text[232];
};
CKV_AT(struct ckv_refused, error, 16, 4);
CKV_AT(struct ckv_refused, zero, 20, 4);
CKV_AT(struct ckv_refused, text, 24, 232);
CKV_SIZE(struct ckv_refused, 256);

#endif
