/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv_attach.h - messages on the control socket (SOCK_SEQPACKET).
 *
 * The socket carries attach, descriptors and detach, nothing hot. One message is
 * one packet: a head, then the body its type names. Every request of a client
 * gets one reply, in order; EVENT and SLAB_WRITE come in between. SLAB_WANT has
 * no reply but the slab.
 *
 *   client                               daemon
 *   HELLO   (+ own pidfd)            ->  WELCOME      + world, global stats
 *   ATTACH  name, geometry, how      ->  ATTACHED     + stats [index]
 *                                        SLABS ...    + slab descriptors, read-only
 *   LANE    space, shape             ->  LANE_OPENED  + C, D, eventfd
 *   LANE_CLOSE lane                  ->  DONE
 *   DETACH  space, or all            ->  DONE
 *   SLAB_WANT slab                   ->  (SLAB_WRITE)
 *                                        SLAB_WRITE   + one slab, read-write
 *                                        EVENT        something completed on a lane
 *
 * A refused request is answered by REFUSED: an errno and a text that names what
 * is wrong. Slabs come in messages of at most CKV_FDS_MAX descriptors.
 *
 * A read-write slab is sent before the first completion that lends a page in
 * it; SLAB_WANT asks for it again, when it came and could not be mapped. A client is
 * dead when its pidfd says so; a closed socket is a detach: its lanes are kept, and
 * LANE_CLOSE on a later connection of the same process closes them. What was sent
 * before a socket was closed is read, so DETACH of all is the last word.
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
	uint32_t pid;		/* the sender's; counts before Linux 6.5 only */
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
 * What of the geometry must be equal. A space without blocks and without clients
 * that named its weights takes the weights of the next SAME, and zeros from a
 * writer's ANY; SHAPE and a reader's ANY name none.
 */
enum ckv_want {
	CKV_WANT_SAME  = 0,	/* all of it */
	CKV_WANT_ANY   = 1,	/* nothing: the space as it is */
	CKV_WANT_SHAPE = 2,	/* all but the weights: what ANY got from a dead daemon */
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
	uint8_t	 secret[32];	/* of key derivation; zero for STATS */
};
CKV_AT(struct ckv_attached, space_id, 16, 4);
CKV_AT(struct ckv_attached, n_buckets, 20, 4);
CKV_AT(struct ckv_attached, geometry, 24, 336);
CKV_AT(struct ckv_attached, pool, 360, 40);
CKV_AT(struct ckv_attached, secret, 400, 32);
CKV_SIZE(struct ckv_attached, 432);

/* SLABS: descriptors of slabs first .. first + n_fds - 1. SLAB_WRITE, SLAB_WANT: of one. */
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
};
CKV_AT(struct ckv_lane_opened, lane_id, 16, 4);
CKV_AT(struct ckv_lane_opened, zero, 20, 4);
CKV_AT(struct ckv_lane_opened, shape, 24, 16);
CKV_SIZE(struct ckv_lane_opened, 40);

/*
 * LANE_CLOSE: a lane. EVENT: a lane on which something completed, or that was
 * closed. DETACH: a space, CKV_NONE: all of them. DONE: zero.
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
 * error: EPROTONOSUPPORT versions differ; ENOENT no such space; EACCES this user
 * may not; EINVAL geometry differs (the text names the field and both values);
 * EUSERS too many clients, or lanes or pins of this user; EMFILE too many lanes;
 * ENOMEM; EPROTO not a message.
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
