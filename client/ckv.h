/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv.h - client library of the node-local KV cache daemon, ckvd.
 *
 * An engine opens a connection, attaches a space (one model's cache), opens a
 * lane per thread, and then finds and pins cached blocks by reading shared
 * memory: no system call, no lock, no copy. New blocks are written straight
 * into pages that the daemon lends.
 *
 * Parts of this file, included by it: ckv_write.h (storing blocks), ckv_views.h
 * (compression), ckv_events.h (not waiting).
 *
 * What holds for every call
 *
 *   Functions return 0 or a count on success and -errno on failure. Sizes are bytes
 *   unless the name ends in _tokens, _blocks or _pages; times are nanoseconds. A key has
 *   32 bytes, and an array of n keys n * 32. Only pointers that the comment says may be
 *   NULL may be. The library never prints, never exits, never touches signal handlers.
 *
 * The comment of each function ends in these lines:
 *
 *   Blocks:   never       no system call, no lock, no waiting
 *             briefly     system calls that do not wait, and locks that no thread holds
 *                         while it waits
 *             for answer  until the daemon has answered, without a limit while it lives,
 *                         and up to 100 ms after its death. If the daemon is back and the
 *                         lane is just being attached again, for that first, 100 ms at most
 *             10 s        until the daemon has answered, 10 s at most; before that for
 *                         other threads in such a call of the same connection
 *   Threads:  any         several threads at a time
 *             lane        the one thread that uses the lane at that time
 *   Owner:    what the caller owns, or has to leave alone, after the call
 *   Failed:   what a failed call has changed. Without this line: nothing, and no ret_
 *             argument was written
 *   Errors:   each with its cause. LANE and ASK stand for:
 *
 *   LANE      -ECHILD  the object was made before fork(): a child opens its own connection
 *             -ESTALE  the daemon ended, was started again, or the connection to it broke,
 *                      and the lane is not attached again yet
 *             -EPROTO  the daemon closed the lane, because it got a message that this
 *                      library never sends, or its answer makes no sense; the lane stays
 *                      closed: close it and open another
 *   ASK       LANE, and
 *             -EAGAIN  as many requests as the lane has slots, or argument bytes, are
 *                      outstanding: collect some with ckv_poll() or ckv_wait()
 *             -EINVAL  also: the request needs more argument bytes than the lane has
 *
 * When the daemon is gone, lookups find 0 blocks. The library attaches again by itself,
 * inside other calls: they connect, attach the space and open the lane, each call as far as
 * the daemon's answers allow that have come. Calls that wait for the daemon wait for these
 * answers; others never do, so lookups one after the other find again within milliseconds,
 * and of rare ones the fourth. A connection is tried every 1 to 100 ms, more rarely the
 * longer the daemon is away; after a refusal nothing is for 100 ms, and ckv_why() says what
 * the daemon answered.
 *
 * Handles and lent pages of before are to be dropped: pins with ckv_unpin(), lent pages
 * with ckv_abort(). Their memory stays mapped as long, and if the new daemon has taken over
 * the memory of the one before (ckvd(8)), it leaves these blocks and pages alone as long.
 * What was written to lent pages is lost.
 *
 * Caveats
 *
 *   - A lane belongs to one thread at a time. A connection and a space may be
 *     used by several threads. Whoever closes one of them sees to it that no
 *     other thread begins a call with it, or with a lane of it, any more. A call
 *     that is under way is noticed: then nothing is closed. Not noticed are those that
 *     take a space and ask nobody: ckv_keys(), ckv_space_get_info(), ckv_queries_*().
 *   - A lane in use is never delayed by threads that open or close. A call that failed or
 *     timed out costs nothing else: what the daemon opened for it is given back, also
 *     when its answer comes late.
 *   - A child after fork() has none of the mappings. There ckv_close() frees memory and
 *     descriptors, ckv_detach() and ckv_lane_close() do nothing and return NULL.
 *   - A pin keeps a chain of blocks resident. Pins vanish when the process dies;
 *     a stopped process (SIGSTOP, debugger) holds them until it resumes or is killed.
 *   - Whoever may write to a space is trusted with its bytes. A page gets its
 *     checksum from its writer or, if that gave none, from the daemon later. Readers
 *     that want to check use CKV_VERIFY.
 */
#ifndef CKV_H
#define CKV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ckv;			/* a connection to the daemon */
struct ckv_space;		/* an attached space */
struct ckv_lane;		/* one thread's way into a space */

/* ---- connection ------------------------------------------------------- */

/*
 * Connect to the daemon that listens at `path` (NULL or "": $CKV_SOCKET, else
 * /run/ckv/ckvd.sock). `program` is shown by `ckv clients`, up to 63 letters of it
 * (NULL: the command name).
 *
 *   Blocks:  10 s; 1 s of them for a place in the socket's queue
 *   Threads: any
 *   Owner:   *ret_ckv is the caller's, for ckv_close()
 *   Failed:  there is no connection to ask: ckv_why(NULL) has the reason in words
 *   Errors:  -ENOENT, -ECONNREFUSED  no daemon there, or it ended meanwhile
 *            -EACCES           the socket does not let this user in
 *            -ENAMETOOLONG     the path has more than 107 letters
 *            -EPROTONOSUPPORT  daemon and library are of different versions
 *            -EUSERS           the daemon's limit of clients, or of this user's, is reached
 *            -ENOMEM, -EMFILE  no memory, address space or descriptors here or there
 *            -ETIMEDOUT        the daemon does not answer
 *            -EPROTO           one of the two says what makes no sense to the other
 *            or what else connect(2) says of a path that is no such socket
 */
int ckv_open(const char *path, const char *program, struct ckv **ret_ckv);

/*
 * Close every lane and space, and the connection. NULL is allowed; returns NULL. While
 * another thread is in a call with it, or with a space or lane of it, it returns `ckv`
 * and has closed nothing; call it again.
 *
 *   Blocks:  10 s
 *   Threads: one; see the caveats
 *   Owner:   `ckv` and all that was made with it is freed and unmapped, pins and lent
 *            pages are given back, unless it returns `ckv`
 *   Errors:  none
 */
struct ckv *ckv_close(struct ckv *ckv);

/*
 * Why the last call of this thread on this connection that failed did so, such as
 * "space llama: n_layers is 32 here, 80 at the client"; where there is no more to say,
 * what ckv_strerror() says. A call that succeeds leaves it, "" if none has failed. The
 * status of a page or a key is no failure of the call. NULL: the last ckv_open() of this
 * thread that failed.
 *
 *   Blocks:  never
 *   Threads: any
 *   Owner:   the text is the library's: it changes with the next call of this thread that
 *            fails, and is kept for the last 4 connections of which one failed
 *   Errors:  none
 */
const char *ckv_why(const struct ckv *ckv);

/*
 * A sentence for a negative return value, in the words of this library.
 *
 *   Blocks:  never
 *   Threads: any
 *   Owner:   the text is constant
 *   Errors:  none
 */
const char *ckv_strerror(int error);

/* ---- space ------------------------------------------------------------ */

enum { CKV_KEY_SIZE = 32 };

enum ckv_type {			/* element types */
	CKV_F32 = 1, CKV_F16 = 2, CKV_BF16 = 3, CKV_F8_E4M3 = 4,
};

enum ckv_mode {
	CKV_READ = 2,		/* look up and pin */
	CKV_WRITE = 3,		/* and reserve, publish, drop, compress */
};

enum ckv_scheme {
	CKV_TOKEN_KEYS = 1,	/* keys made by ckv_keys() */
	CKV_ENGINE_KEYS = 2,	/* the engine's own chained hashes */
};

enum ckv_page_layout {		/* how the numbers of a block lie in its page */
	CKV_HEAD_MAJOR = 1,	/* [layer][K then V][kv_head][token][dim] */
	CKV_TOKEN_MAJOR = 2,	/* [layer][K then V][token][kv_head][dim]; not compressible */
	CKV_OPAQUE = 3,		/* block_bytes that only the engine reads; not compressible */
};

/*
 * What the pages of a space mean. Two engines that name the same read each other's
 * pages as their own, so every field is compared when one attaches.
 *
 * `model` is a name for people, of at most 255 letters; two checkpoints may bear the
 * same. What tells them apart is `weights`, a digest that the engine makes of all that
 * changes K and V: the weights (or enough of them to know them by) with merged adapters
 * and quantisation, rope parameters, the type it computes in. An adapter of single
 * requests, a salt or an image goes into the `extra` of ckv_keys() instead.
 *
 * A space has the weights of `[space] weights =` in the daemon's configuration or, without
 * that, of the first who names them: by ckv_attach() with a `want`, for reading or
 * writing; a writer without one names zeros, a reader without one names nothing. They
 * stay while the space holds a block, a view or a lent page, or somebody who named
 * them, or any writer, is attached; after that the next who attaches names them anew. All
 * zeros are a value like any other: they match zeros only. Where readers are not
 * trusted to name them, write them into the configuration.
 *
 * With CKV_OPAQUE, n_layers, n_kv_heads, dim_k, dim_v and type are not looked at and
 * come back as 0; else block_bytes is not looked at, and comes back as what K and V take.
 */
struct ckv_model {
	char	 model[256];	/* model id, compared as text */
	uint8_t	 weights[32];	/* digest; zeros: none */
	uint64_t block_bytes;	/* CKV_OPAQUE: of a page, so many are the engine's */
	uint32_t n_layers, n_kv_heads, dim_k, dim_v;
	uint32_t block_tokens;	/* tokens in a block */
	uint32_t type;		/* enum ckv_type */
	uint32_t scheme;	/* enum ckv_scheme */
	uint32_t layout;	/* enum ckv_page_layout; 0: CKV_HEAD_MAJOR */
};

struct ckv_space_info {
	struct ckv_model model;
	uint64_t page_bytes;
	uint32_t n_block_pages;	/* pool pages for blocks */
	uint32_t n_view_pages;	/* and for views */
};

/*
 * Attach the space `name`: compare its geometry with `want` field by field (NULL: take
 * the space as it is), and map its index and pool. When the daemon was started again and
 * the library attaches again, it wants what it had; a reader without `want` takes other
 * weights, too.
 *
 *   Blocks:  10 s, and while the index is mapped, milliseconds if it is large
 *   Threads: any
 *   Owner:   *ret_space is the caller's, for ckv_detach() or ckv_close()
 *   Errors:  -ENOENT    the daemon has no such space
 *            -EACCES    this user may not, or not in this mode
 *            -EINVAL    the geometry differs: ckv_why() names the field and both values;
 *                       or `mode`; or want->model has no end
 *            -EALREADY  this connection has attached it already
 *            -ENOMEM, -EMFILE  no memory, address space or descriptors here or there
 *            -ETIMEDOUT the daemon does not answer
 *            -EPROTO    what it says makes no sense
 *            -ESTALE    there is no daemon any more
 *            -ECHILD    `ckv` was opened before fork()
 *            and, where it has to connect anew, what ckv_open() answers
 */
int ckv_attach(struct ckv *ckv, const char *name, const struct ckv_model *want,
	       enum ckv_mode mode, struct ckv_space **ret_space);

/*
 * Close the space's lanes and unmap it. NULL is allowed; returns NULL. While another
 * thread is in a call with it or a lane of it, it returns `space` and has closed nothing.
 *
 *   Blocks:  10 s, until the daemon has taken back what the lanes held
 *   Threads: one; see the caveats
 *   Owner:   the space and its lanes are freed and unmapped, pins and lent pages are
 *            given back, unless it returns `space`
 *   Errors:  none
 */
struct ckv_space *ckv_detach(struct ckv_space *space);

/*
 * The geometry of the space and its pool.
 *
 *   Blocks:  briefly
 *   Threads: any
 *   Errors:  none
 */
void ckv_space_get_info(const struct ckv_space *space,
			struct ckv_space_info *ret_info);

/*
 * What tells blocks of equal tokens apart: they were computed with another adapter,
 * belong to another tenant, stand for another image. Each kind is hashed with its
 * name and length, so "x" as a salt is never "x" as an adapter, and an empty one
 * is not the same as none.
 */
enum ckv_extra_kind {
	CKV_EXTRA_LORA = 1,	/* the adapter's id */
	CKV_EXTRA_SALT = 2,	/* keeps tenants apart */
	CKV_EXTRA_IMAGE = 3,	/* a digest of what image tokens stand for */
	CKV_EXTRA_OTHER = 4,	/* the engine's own; name it inside */
};

struct ckv_extra {
	uint32_t    kind;	/* enum ckv_extra_kind */
	const void *data;	/* may be NULL if bytes is 0 */
	size_t	    bytes;
};

/*
 * Keys of the full blocks of `tokens`, chained from `parent` (NULL: a root). A key is
 * SHA-256 of
 *
 *   "ckv2" | space secret, 32 bytes | 28 zero bytes
 *   parent, 32 bytes, zero for a root | u32 n | n tokens, u32 each
 *   for each extra: u32 kind | u32 bytes | data
 *
 * all little-endian. The extras are those of every block of this call, in any order:
 * they are hashed by ascending kind, images in the order given. A block that alone has
 * an image is given its key by a call of its own. Returns the number of keys, n_tokens /
 * block_tokens, at ret_keys.
 *
 *   Blocks:  briefly
 *   Threads: any
 *   Errors:  -EINVAL  the space takes the engine's own keys; an extra of no kind, without
 *                     its data, or of over 4 GiB; two of one kind that are not images
 *            -ECHILD  the space was attached before fork()
 */
long ckv_keys(const struct ckv_space *space, const uint8_t *parent,
	      const uint32_t *tokens, size_t n_tokens,
	      const struct ckv_extra *extras, size_t n_extras,
	      uint8_t *ret_keys);

/* ---- lane ------------------------------------------------------------- */

struct ckv_lane_options {	/* 0: the daemon's default */
	uint32_t n_slots;	/* requests outstanding, a power of two */
	uint32_t n_pins;	/* pins held at once */
	uint32_t n_touches;	/* recency buffer, a power of two */
	uint32_t arg_bytes;	/* argument area, a multiple of 4096 */
};

/*
 * Open a lane of a space. `options` may be NULL: all defaults.
 *
 *   Blocks:  10 s; where it has to attach anew, as ckv_attach()
 *   Threads: any
 *   Owner:   *ret_lane is the caller's, for ckv_lane_close(), ckv_detach() or ckv_close()
 *   Errors:  -EMFILE  this client's, or the daemon's, limit of lanes is reached; or no
 *                     descriptors here or there: ckv_why() tells
 *            -EUSERS  the lanes of this user, or the pins of this client, its user or the
 *                     space, are used up
 *            -EDQUOT  more pins, slots, touches or argument bytes than the daemon allows
 *            -EINVAL  n_slots or n_touches is no power of two, arg_bytes no multiple
 *            -ENOMEM  no memory or address space here or there
 *            -ETIMEDOUT, -EPROTO, -ESTALE, -ECHILD  as of ckv_attach()
 *            and, where it has to attach anew, what ckv_attach() answers
 */
int ckv_lane_open(struct ckv_space *space, const struct ckv_lane_options *options,
		  struct ckv_lane **ret_lane);

/*
 * Drop the lane's pins, lent pages and outstanding requests, whose results are never
 * written. NULL is allowed; returns NULL. While another thread is in a call with it, it
 * returns `lane` and has closed nothing.
 *
 *   Blocks:  10 s, until the daemon has taken back what the lane held
 *   Threads: one; see the caveats
 *   Owner:   the lane is freed; no handle or page of it may be touched any more, unless it
 *            returns `lane`
 *   Errors:  none
 */
struct ckv_lane *ckv_lane_close(struct ckv_lane *lane);

/* ---- finding ---------------------------------------------------------- */

enum {				/* levels, nearest last */
	CKV_REMOTE = 1, CKV_DISK = 2, CKV_HOST = 3, CKV_DEVICE = 4,
};

struct ckv_handle {		/* one found block */
	const void *data;	/* its page, readable until ckv_unpin(); NULL: not at CKV_HOST */
	uint32_t    page;	/* number in the pool of its level */
	uint16_t    n_tokens;
	uint8_t	    level;	/* at which it is pinned */
	uint8_t	    zero;
};

struct ckv_pin {		/* filled by ckv_lookup(), spent by ckv_unpin() */
	uint32_t n_blocks;	/* found, a prefix of the keys asked for */
	uint32_t n_at[5];	/* of these, how many at each level or nearer */
	uint32_t private_[6];
};

enum ckv_lookup_flag {
	/*
	 * Return only blocks whose bytes are those that were summed: the writer's
	 * sum, or the daemon's of a page that was published without one. A block
	 * that has no checksum yet ends the prefix, so it is found when the daemon has
	 * summed it (`sum_idle` in ckvd.conf(5), a moment later on an idle machine).
	 * So does one whose bytes differ; that is counted.
	 */
	CKV_VERIFY = 1,
	/*
	 * Count only: pin nothing; ret_handles and ret_pin may be NULL. That the blocks
	 * are each other's parents is seen at the deepest ones only, and CKV_VERIFY is
	 * not looked at.
	 */
	CKV_EXISTS = 2,
};

/*
 * Find the longest prefix of the chain keys[0 .. n_keys) that is stored, pin it and say
 * where its blocks are. keys[0] may be in the middle of a chain; every other block must be
 * stored under the one before it, or the prefix ends there. Returns the number of blocks
 * found, 0 being an ordinary answer, also when there is no daemon.
 *
 *   Blocks:  never; CKV_VERIFY reads all bytes of the pages. Without a daemon: briefly
 *   Threads: lane
 *   Owner:   ret_handles[0 .. found) are filled, and *ret_pin is the caller's, for
 *            ckv_unpin(), also when 0 blocks were found
 *   Errors:  -EAGAIN  every pin word of this lane is in use
 *            -EINVAL  a flag that there is not; NULL where an array or a pin is needed
 *            -EPROTO, -ECHILD  as of LANE
 */
long ckv_lookup(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		unsigned flags, struct ckv_handle *ret_handles,
		struct ckv_pin *ret_pin);

struct ckv_chain {		/* one request of ckv_lookup_many() */
	const uint8_t *keys;	/* given, with the next two, as to ckv_lookup() */
	size_t	       n_keys;
	struct ckv_handle *ret_handles;
	long	       result;	/* what ckv_lookup() returns */
	struct ckv_pin pin;	/* filled unless result is negative */
};

/*
 * Look up several chains at once, such as the requests of one scheduler step: what
 * ckv_lookup() does, chain by chain, but their waits for memory overlap. Each chain has its
 * own handles and pin. Returns how many chains were answered, result >= 0.
 *
 * When the pin words run out, the chains that need one and got none have the result
 * -EAGAIN and hold nothing; their pins are left alone. All others are answered.
 *
 *   Blocks:  never, as ckv_lookup()
 *   Threads: lane
 *   Owner:   each pin of a chain with result >= 0 is the caller's, for ckv_unpin()
 *   Failed:  nothing of `chains` was changed
 *   Errors:  -EINVAL  a flag that there is not, or an argument of one of the chains
 *            -EPROTO, -ECHILD  as of LANE
 */
long ckv_lookup_many(struct ckv_lane *lane, struct ckv_chain *chains,
		     size_t n_chains, unsigned flags);

/*
 * Wait for the chain keys[0 .. n_keys), 1 to 1024 keys, to be at `level`: CKV_HOST or
 * CKV_DEVICE. Blocks that another engine is just writing are waited for, so of two engines
 * with one new prompt the second need not compute it again. Returns how many leading blocks
 * are there when all that could come has come, or timeout_ns (-1: no limit) have passed: 0
 * at once if nothing is stored and nobody writes. A writer that dies, gives up or loses its
 * connection ends the wait, too.
 *
 * With ret_pin the result is that of ckv_lookup() with ret_handles[n_keys] and `flags`,
 * made before the daemon may let go of what has come. With CKV_VERIFY, what was published
 * without a checksum is not found before the daemon has summed it. With NULL, ret_handles
 * and flags are not looked at, and what is there may be gone when it is looked up.
 *
 *   Blocks:  for answer, which comes when the wait has ended
 *   Threads: lane
 *   Owner:   *ret_pin is the caller's, for ckv_unpin(), also when 0 blocks were found
 *   Errors:  ASK
 *            -EINVAL  n_keys, level, flags other than CKV_VERIFY, or ret_pin without handles
 *            -ENODEV  the space has no such level
 *            -EAGAIN  also: as many prefetches wait as the daemon allows (max_prefetches),
 *                     or as the lane has slots but for one, which ckv_cancel() may need,
 *                     or every pin word of this lane is in use
 *            -EUSERS  with ret_pin: the pins of this client, its user or the space are used up
 */
long ckv_prefetch(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
		  uint32_t level, int64_t timeout_ns, unsigned flags,
		  struct ckv_handle *ret_handles, struct ckv_pin *ret_pin);

/*
 * Give a pin back. Its handles must not be read afterwards. NULL is allowed.
 *
 *   Blocks:  never; briefly, if it is the last thing of an attachment that is over
 *   Threads: lane
 *   Owner:   *pin is empty: to give it back again does nothing
 *   Errors:  none
 */
void ckv_unpin(struct ckv_lane *lane, struct ckv_pin *pin);

/*
 * 0 while the daemon that gave out this pin lives and the lane is still attached as it was
 * then: the blocks stay as they are. An empty pin is valid. Until ckv_unpin() the handles
 * may be read without a fault in any case, but after -ESTALE nothing promises the bytes.
 *
 *   Blocks:  never
 *   Threads: lane
 *   Errors:  -ESTALE  the daemon ended, or the lane has attached again
 *            -ECHILD  the lane was opened before fork()
 */
int ckv_pin_valid(const struct ckv_lane *lane, const struct ckv_pin *pin);

#include "ckv_write.h"
#include "ckv_views.h"
#include "ckv_events.h"

#ifdef __cplusplus
}
#endif
#endif
