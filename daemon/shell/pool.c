/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - make the slabs of a space, at equal distances in one range of addresses.
 *
 * All slabs are made and their pages touched before the first client connects, so a
 * machine that has too little memory is found out at start. Slabs that an earlier daemon
 * made have their memory, in large pages or small ones, and are only mapped; what is read
 * first by this process costs a page fault, but the start does not wait for that.
 *
 * A slab's file is as large as its pages, so the gaps between slabs take addresses but no
 * memory.
 */
#include "daemon/shell/memory.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define TOUCH_BYTES	(64u << 20)	/* what a thread touches at once */
#define PROGRESS_NS	500000000u

/* Threads take pieces of the slabs until all are touched. */
struct toucher {
	pthread_mutex_t lock;
	const struct pool_options *options;
	const struct pool *pool;
	uint64_t bytes, next, done;	/* as if the slabs lay one after the other */
	int error;
};

/* The next piece, inside one slab; NULL when all are taken. */
static char *take_piece(struct toucher *t, uint64_t *ret_bytes)
{
	uint64_t slab_bytes = ckv_slab_bytes(&t->pool->shape), slab, offset, left;
	char *piece = NULL;

	pthread_mutex_lock(&t->lock);
	if (t->next < t->bytes && t->error == 0) {
		slab = t->next / slab_bytes;
		offset = t->next % slab_bytes;
		left = slab_bytes - offset;
		*ret_bytes = left < TOUCH_BYTES ? left : TOUCH_BYTES;
		t->next += *ret_bytes;
		piece = (char *)t->pool->base +
			slab * t->pool->shape.slab_stride + offset;
	}
	pthread_mutex_unlock(&t->lock);
	return piece;
}

static void *touch(void *argument)
{
	struct toucher *t = argument;
	uint64_t bytes;
	char *piece;
	int r;

	while ((piece = take_piece(t, &bytes)) != NULL) {
		/* Where there is no memory this fails, instead of raising SIGBUS. */
		r = sys_advise(piece, bytes, MADV_POPULATE_WRITE);
		if (r == -EINVAL) {
			for (uint64_t i = 0; i < bytes; i += CKV_PIECE_BYTES)
				((volatile char *)piece)[i] = 0;
			r = 0;
		}
		if (r == 0 && t->options->huge_pages)
			memory_collapse(piece, bytes);
		pthread_mutex_lock(&t->lock);
		t->done += bytes;
		if (r < 0)
			t->error = r;
		pthread_mutex_unlock(&t->lock);
	}
	return NULL;
}

/* Wait for the threads, saying how far they are. */
static void watch_progress(struct toucher *t)
{
	uint64_t done = 0, slept_ns = 0;
	int error = 0;

	while (done < t->bytes && error == 0) {
		sys_sleep_ns(2000000);
		slept_ns += 2000000;
		pthread_mutex_lock(&t->lock);
		done = t->done;
		error = t->error;
		pthread_mutex_unlock(&t->lock);
		if (slept_ns >= PROGRESS_NS && t->options->progress) {
			t->options->progress(t->options->context, done, t->bytes);
			slept_ns = 0;
		}
	}
}

static int touch_all(struct pool *pool, const struct pool_options *options)
{
	struct toucher t = {
		.lock = PTHREAD_MUTEX_INITIALIZER, .options = options,
		.pool = pool, .bytes = ckv_pool_bytes(&pool->shape),
	};
	pthread_t thread[256];
	uint32_t n = 0;
	int r = 0;

	while (n < options->n_threads && n < 256 && n * (uint64_t)TOUCH_BYTES < t.bytes) {
		r = sys_thread(&thread[n], touch, &t);
		if (r < 0)
			break;
		n++;
	}
	if (n == 0)
		return r;	/* fewer threads than wanted only take longer */
	watch_progress(&t);
	while (n > 0)
		pthread_join(thread[--n], NULL);
	return t.error == -EFAULT || t.error == -EHWPOISON ? -ENOMEM : t.error;
}

static int map_slab(struct pool *pool, uint32_t i, int fd)
{
	char *at = (char *)pool->base + i * pool->shape.slab_stride;
	int r = sys_map_at(fd, at, ckv_slab_bytes(&pool->shape),
			   PROT_READ | PROT_WRITE);

	if (r == 0)
		pool->fds[i] = fd;
	return r;
}

static int create_slab(struct pool *pool, uint32_t i)
{
	int fd = memory_file("ckv-slab", ckv_slab_bytes(&pool->shape)), r;

	if (fd < 0)
		return fd;
	r = map_slab(pool, i, fd);
	if (r < 0)
		sys_close(fd);
	return r;
}

/*
 * Ask for 2 MiB pages where a slab fills them. The rest at a slab's end must not get
 * one: it would take memory that no page of the pool is in.
 */
static void advise_slabs(const struct pool *pool, bool huge_pages)
{
	size_t bytes = ckv_slab_bytes(&pool->shape);
	size_t rest = bytes % CKV_HUGE_BYTES, whole = bytes - rest;

	for (uint32_t i = 0; i < pool->shape.n_slabs; i++) {
		char *slab = (char *)pool->base + i * pool->shape.slab_stride;

		if (huge_pages && whole > 0)
			(void)sys_advise(slab, whole, MADV_HUGEPAGE);
		if (rest > 0)
			(void)sys_advise(slab + whole, rest, MADV_NOHUGEPAGE);
	}
}

int pool_create(const struct ckv_pool_shape *shape,
		const struct pool_options *options, struct pool *ret_pool)
{
	struct pool pool = { .shape = *shape };
	size_t bytes = ckv_pool_range(shape);
	uint32_t n = 0;
	int r;

	r = sys_alloc(shape->n_slabs, sizeof pool.fds[0], &pool.fds);
	if (r < 0)
		return r;
	pool.range_bytes = bytes + CKV_HUGE_BYTES;
	r = sys_map_private(pool.range_bytes, PROT_NONE, &pool.range);
	if (r < 0)
		goto err_free;
	pool.base = (void *)ckv_round_up((uintptr_t)pool.range, CKV_HUGE_BYTES);
	for (; n < shape->n_slabs; n++) {
		r = options->kept ? map_slab(&pool, n, options->kept[n]) :
				    create_slab(&pool, n);
		if (r < 0)
			goto err_slabs;
	}
	r = sys_advise(pool.base, bytes, MADV_DONTFORK);
	if (r < 0)
		goto err_slabs;
	if (options->bind)
		options->bind(options->bind_context, pool.base, bytes);
	advise_slabs(&pool, options->huge_pages);
	r = options->kept ? 0 : touch_all(&pool, options);
	if (r < 0)
		goto err_slabs;
	if (options->huge_pages && !options->kept && memory_huge_bytes(pool.base, bytes,
						     &pool.huge_bytes) < 0)
		pool.huge_bytes = 0;
	*ret_pool = pool;
	return 0;

err_slabs:
	while (n-- > 0 && !options->kept)
		sys_close(pool.fds[n]);
	sys_unmap(pool.range, pool.range_bytes);
err_free:
	sys_free(pool.fds);
	return r;
}

void pool_destroy(struct pool *pool)
{
	if (pool->range == NULL)
		return;
	for (uint32_t i = 0; i < pool->shape.n_slabs; i++)
		sys_close(pool->fds[i]);
	sys_unmap(pool->range, pool->range_bytes);
	sys_free(pool->fds);
	*pool = (struct pool){ .range = NULL };
}
