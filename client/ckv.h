/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ckv.h - client library of the node-local KV cache daemon, ckvd.
 *
 * An engine opens a connection, attaches a space (one model's cache), opens a
 * lane per thread, and then finds and pins cached blocks by reading shared
 * memory: no system call, no lock, no copy. New blocks are written straight
 * into pages that the daemon lends.
 *
 * Every function returns 0 (or a count) on success and -errno on failure, and
 * leaves its `ret_` arguments alone when it fails (but see ret_status). Sizes are bytes unless the
 * name ends in _tokens, _blocks or _pages; times are nanoseconds. A key is 32
 * bytes; an array of n keys is n * 32 bytes. The library never prints, never
 * exits and never touches signal handlers.
 *
 * Any call may answer
 *   -ESTALE   the daemon is gone or restarted since this was attached, or the
 *             connection to it broke. Lookups miss meanwhile; the library
 *             reattaches by itself, never blocking: each lane is tried at most
 *             once in 100 ms, and after a refusal no lane of the connection for
 *             as long. ckv_why() says what the daemon answered. Handles from
 *             before are to be dropped: pins with ckv_unpin(), which must not come
 *             too late for the memory that they keep mapped; lent pages are lost
 *   -ECHILD   called in a child after fork(): it must open its own connection
 *   -EINVAL   an argument is out of range
 *   -ENOMEM   out of memory
 * and any call that asks the daemon by a lane, which waits for its answer as long as the
 * daemon lives unless it is a ckv_submit_*(),
 *   -EAGAIN   as many requests as the lane has slots, or argument bytes, are
 *             outstanding; collect some with ckv_poll() or ckv_wait()
 *   -EPROTO   the daemon closed the lane, because it was sent what no lane of this
 *             library sends; it stays closed: close it and open another
 *
 * Caveats
 *
 *   - A lane belongs to one thread at a time. A connection and a space may be
 *     used by several threads. Whoever closes one of them sees to it that no
 *     other thread begins a call with it, or with a lane of it, any more. A call
 *     that is under way is noticed: then nothing is closed. Not noticed are those that
 *     take a space and ask nobody: ckv_keys(), ckv_space_get_info(), ckv_queries_*().
 *   - ckv_open(), ckv_attach(), ckv_lane_open() and closing wait for the daemon, at
 *     most 10 s. Threads that do so take turns; a lane in use is never
 *     delayed by them. One that failed or timed out costs nothing else: what the
 *     daemon opened for it is given back, also when its answer comes late.
 *   - Nothing is mapped in a child after fork().
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
 * (NULL: the command name). The caller owns *ret_ckv and gives it back to ckv_close().
 *
 *   -ENOENT, -ECONNREFUSED  no daemon there
 *   -EACCES                 the socket does not let this user in
 *   -ENAMETOOLONG           the path has more than 107 letters. Or what else
 *                           connect(2) says of a path that is no socket's
 *   -EPROTONOSUPPORT        daemon and library are of different versions
 *   -ENAMETOOLONG           the path has more than 107 letters
 *   -EUSERS                 the daemon's limit of clients, or of this user's, is reached
 *   -ENOMEM, -EMFILE        out of memory, address space or descriptors
 *   -ETIMEDOUT              the daemon does not answer
 *   -EPROTO                 what it says makes no sense, or it says so of us
 *
 * There is no connection to ask then: ckv_why(NULL) has the reason in words.
 */
int ckv_open(const char *path, const char *program, struct ckv **ret_ckv);

/*
 * Close every lane and space, and the connection. NULL is allowed; returns NULL.
 * While another thread is in a call with it, or with a space or lane of it, it returns
 * `ckv` and has closed nothing; call it again.
 */
struct ckv *ckv_close(struct ckv *ckv);

/*
 * Why the last call of this thread on this connection that failed did so, such as
 * "space llama: n_layers is 32 here, 80 at the client"; where there is no more to say,
 * what ckv_strerror() says. A call that succeeds leaves it, "" if none has failed. The
 * status of a page or a key is no failure of the call. A thread's last four connections
 * are remembered. NULL: the last ckv_open() of this thread that failed.
 */
const char *ckv_why(const struct ckv *ckv);

/* A sentence for a negative return value, in the words of this library. */
const char *ckv_strerror(int error);

/*
 * A descriptor that becomes readable when a request completes on a lane that
 * asked for it with ckv_event_arm(), for engines with their own event loop.
 * After it did, call ckv_poll() for the lanes that did so: it stays readable until
 * each of them that has something has been polled. The end of a lane is something,
 * too: that of its daemon or its connection, whose requests are then done with
 * -ESTALE. It may be readable for nothing. It stays the same over restarts and
 * belongs to the library.
 */
int ckv_event_fd(const struct ckv *ckv);

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
 * Attach the space `name`. `want` is compared with the space's geometry field by
 * field; NULL takes the space as it is. Maps the index and the pool. When the daemon
 * was restarted and the library attaches again, it wants what it had; a reader
 * without `want` takes other weights, too.
 *
 *   -ENOENT   the daemon has no such space
 *   -EACCES   this user may not, or not in this mode
 *   -EINVAL   the geometry differs; ckv_why() names the field and both values. Or
 *             want->model has no end
 *   -EALREADY this connection has attached it already
 *   -ENOMEM, -EMFILE  its memory could not be mapped here
 *   -ETIMEDOUT        the daemon does not answer
 *   -EPROTO           what it says makes no sense
 *   and, where it has to connect anew, what ckv_open() answers; that there is no
 *   daemon is -ESTALE
 */
int ckv_attach(struct ckv *ckv, const char *name, const struct ckv_model *want,
	       enum ckv_mode mode, struct ckv_space **ret_space);

/*
 * Close the space's lanes and unmap it. NULL is allowed; returns NULL. While another
 * thread is in a call with it or a lane of it, it returns `space` and has closed nothing.
 */
struct ckv_space *ckv_detach(struct ckv_space *space);

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
 *   -EINVAL  the space takes the engine's own keys; an extra of no kind; two of one
 *            kind that are not images
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
 *   -EMFILE  this client's, or the daemon's, limit of lanes is reached
 *   -EUSERS  the lanes of this user, or the pins of this client, its user or the space,
 *            are used up
 *   -EDQUOT  more pins, slots or argument bytes than the daemon allows
 *   and -ENOMEM, -EMFILE, -ETIMEDOUT, -EPROTO, -ESTALE as ckv_attach(). -EMFILE and
 *   -ENOMEM may be the daemon's, too; ckv_why() tells
 */
int ckv_lane_open(struct ckv_space *space, const struct ckv_lane_options *options,
		  struct ckv_lane **ret_lane);

/*
 * Drop the lane's pins and lent pages. NULL is allowed; returns NULL. While another
 * thread is in a call with it, it returns `lane` and has closed nothing.
 */
struct ckv_lane *ckv_lane_close(struct ckv_lane *lane);

/* ---- finding ---------------------------------------------------------- */

enum {				/* levels, nearest last */
	CKV_REMOTE = 1, CKV_DISK = 2, CKV_HOST = 3, CKV_DEVICE = 4,
};

struct ckv_handle {		/* one found block */
	const void *data;	/* its page, readable until ckv_unpin(); NULL: not on the host */
	uint32_t    page;	/* number in the pool of its level */
	uint16_t    n_tokens;
	uint8_t	    level;
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
 * Find the longest prefix of the chain keys[0 .. n_keys) that is stored, pin it
 * and say where its blocks are. keys[0] may be in the middle of a chain; every
 * other block must be stored under the one before it, or the prefix ends there. Does
 * not block and makes no system call (but for the tries to reattach, see -ESTALE).
 * Returns the number of blocks found, 0 being an ordinary answer; then
 * ret_handles[0 .. found) are filled and ret_pin is owned by the caller, also
 * when it is 0.
 *
 *   -EAGAIN   every pin word of this lane is in use
 *   -EPROTO   the lane was closed by the daemon
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
 * ckv_lookup() does, chain by chain, but their waits for memory overlap. Each
 * chain has its own handles and pin, and each pin is given back by itself. Returns how
 * many chains were answered, result >= 0.
 *
 * When the pin words run out, the chains that need one and got none have the result
 * -EAGAIN and hold nothing; their pins are left alone. All others are answered
 * and their pins are the caller's. Other errors are of the whole call, and nothing of
 * `chains` was changed.
 *
 *   -EINVAL   also: an argument of one of the chains
 *   -EPROTO   the lane was closed by the daemon
 */
long ckv_lookup_many(struct ckv_lane *lane, struct ckv_chain *chains,
		     size_t n_chains, unsigned flags);

/* Give a pin back. Its handles must not be read afterwards. Cannot fail. */
void ckv_unpin(struct ckv_lane *lane, struct ckv_pin *pin);

/*
 * 0 while the daemon and the connection that gave out this pin live; -ESTALE after, or
 * once the lane has attached again. Until ckv_unpin() its handles may be read without
 * a fault in any case; after -ESTALE nothing keeps a new daemon from using the pages.
 */
int ckv_pin_valid(const struct ckv_lane *lane, const struct ckv_pin *pin);

/* ---- writing ---------------------------------------------------------- */

struct ckv_page {		/* the answer for one key, or one scratch page */
	void	*data;		/* write here until it is given back; NULL unless status is 0 */
	int32_t	 status;	/* 0, or the reason, see below */
	uint32_t page;
	uint32_t private_[8];
};

/*
 * Borrow pages for the chain keys[0 .. n_keys), whose first parent is `parent`
 * (NULL: keys[0] is a root). At most 1024 keys. Returns how many pages were lent;
 * ret_pages[i].status says for each key:
 *
 *   0            lent to this lane until published or given back
 *   -EEXIST      stored already under this parent; the following keys were tried
 *   -EXDEV       stored already under another parent: the keys are not those of a chain
 *   -EALREADY    being written by someone
 *   -ENOENT      the parent is not stored
 *   -ENOSPC      the pool is full of blocks that may not be evicted
 *   -EXFULL      the index has no place for this key
 *   -EDQUOT      this client may not hold more unpublished pages
 *   -EAGAIN      try again
 *   -EMFILE, -ENOMEM  the page could not be mapped here for writing, for want of
 *                descriptors, or of memory or address space; the daemon has it back, and
 *                the next reserve that is lent a page there tries it again
 *   -ECANCELED   not lent, or taken back at once, because an earlier key failed
 *
 * A lent page stays mapped until it is given back, also when the daemon dies: what
 * is written then is lost and harms nobody. It is given back by the first call that
 * says 0, -EEXIST, -ECANCELED or -ESTALE of it, by the abort of a page that it was
 * reserved under, and by ckv_lane_close(); then it must not be written any more. A
 * page is known by when it was lent: one that was given back is never taken for what
 * its memory is lent for next, by this daemon or another.
 *
 * The call itself: -EACCES the space is attached read-only; -EPROTO the lane
 * was closed by the daemon.
 */
long ckv_reserve(struct ckv_lane *lane, const uint8_t *parent,
		 const uint8_t *keys, size_t n_keys, struct ckv_page *ret_pages);

/*
 * Borrow n_pages without keys, for window queries. All or nothing: 0, or the status
 * of the first page that could not be lent, as above, and ret_pages is left alone.
 */
int ckv_reserve_scratch(struct ckv_lane *lane, size_t n_pages,
			struct ckv_page *ret_pages);

enum ckv_publish_flag {
	CKV_SUM = 1,		/* compute the checksums now, in this thread */
	CKV_SUMMED = 2,		/* `sums` holds them (ckv_copy(), ckv_checksum()) */
};

/*
 * Make pages visible, parents first; nobody may change them afterwards. `n_tokens` is
 * of the last page; the others are full. Without CKV_SUM or CKV_SUMMED the daemon sums
 * the pages later. Each page is judged by itself, in order. Returns how many this call
 * published; if it published none, what the first page was refused for.
 *
 * ret_status (may be NULL) always says what became of each page, whatever the call
 * returns:
 *
 *   0            published by this call
 *   -EEXIST      published before: a repetition, and no harm
 *   -ENOENT      its parent is not published; the page stays lent
 *   -EINVAL      a scratch page; it stays lent
 *   -ECANCELED   it was given back before: by name, or because a page that it was
 *                reserved under was
 *   -ESTALE      lent by a daemon that is gone, in another space, or not to this lane;
 *                or given back and lent anew
 *   else         the call failed as a whole with this error, and the page stays lent:
 *                -EAGAIN too many requests are outstanding, or, with ret_pin, every
 *                pin word of this lane is in use; -EINVAL an argument, or a page that
 *                was not lent; -EACCES; -EPROTO the lane was closed by the daemon
 *
 * With `ret_pin` the last of them is pinned from its first moment, so the caller may
 * go on reading it and all its ancestors. Where the call returns a count the caller
 * owns ret_pin; it is an empty one, with n_blocks 0, unless the last page's status is 0.
 */
long ckv_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		 size_t n_pages, uint32_t n_tokens, unsigned flags,
		 const uint64_t *sums, int32_t *ret_status,
		 struct ckv_pin *ret_pin);

/*
 * Give lent pages back unpublished, the last first; pages reserved under them go too,
 * whoever holds them: their own ckv_publish() or ckv_abort() says -ECANCELED. Pages
 * that were not lent (status is not 0) are passed over. Returns how many this call gave
 * back by name; if none, what the first was refused for. ret_status (may be NULL) as
 * of ckv_publish(): 0, -EEXIST, -ECANCELED, -ESTALE; a page that was passed over has
 * the status it had.
 */
long ckv_abort(struct ckv_lane *lane, const struct ckv_page *pages,
	       size_t n_pages, int32_t *ret_status);

/*
 * Forget blocks or views, deepest first. Returns how many were forgotten; ret_status
 * (may be NULL) per key: 0, -ENOENT, -EBUSY pinned or not a leaf.
 */
long ckv_drop(struct ckv_lane *lane, const uint8_t *keys, size_t n_keys,
	      int32_t *ret_status);

/*
 * XXH3-64 of each 4 KiB piece (seed: its number), then of those digests. A
 * page's checksum is over all of it: page_bytes, whatever the block fills.
 */
uint64_t ckv_checksum(const void *data, size_t bytes);

/* Copy into a lent page and sum in one pass; the checksum of the bytes. */
uint64_t ckv_copy(void *page, const void *from, size_t bytes);

/* ---- compressing: methods, views ------------------------------------- */

#include "ckv_views.h"

/* ---- not waiting ------------------------------------------------------ */

struct ckv_event {
	uint64_t tag;		/* as given at submit */
	long	 result;	/* what the waiting form returns */
};

/*
 * The same requests without waiting: 0, or -EAGAIN when too many are outstanding.
 * Results are written by the ckv_poll() or ckv_wait() call that returns the
 * event; until then the `ret_` memory must stay.
 */
int ckv_submit_reserve(struct ckv_lane *lane, const uint8_t *parent,
		       const uint8_t *keys, size_t n_keys,
		       struct ckv_page *ret_pages, uint64_t tag);
int ckv_submit_publish(struct ckv_lane *lane, const struct ckv_page *pages,
		       size_t n_pages, uint32_t n_tokens, const uint64_t *sums,
		       int32_t *ret_status, uint64_t tag);
int ckv_submit_compress(struct ckv_lane *lane, const uint8_t *chain,
			const char *method, const struct ckv_queries *queries,
			struct ckv_view_info *ret_info, uint64_t tag);
int ckv_submit_nop(struct ckv_lane *lane, uint64_t tag);

/*
 * Collect finished requests, up to `max`, without waiting (but see -EMFILE of
 * ckv_reserve(): a slab asked for again is awaited for at most 100 ms). Count or -errno.
 */
int ckv_poll(struct ckv_lane *lane, struct ckv_event *ret_events, int max);

/*
 * The same, but wait for one, at most timeout_ns (-1: as long as the daemon
 * lives). 0 if nothing is outstanding; -ETIMEDOUT
 */
int ckv_wait(struct ckv_lane *lane, int64_t timeout_ns,
	     struct ckv_event *ret_events, int max);

/*
 * Ask for one readiness of ckv_event_fd() at the next completion of this lane. Then
 * call ckv_poll() once more before waiting: something may have completed before. It
 * stays asked for until ckv_poll() or ckv_wait() has met it.
 */
int ckv_event_arm(struct ckv_lane *lane);

#ifdef __cplusplus
}
#endif
#endif
