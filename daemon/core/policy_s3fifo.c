/*
 * policy_s3fifo.c - S3-FIFO (Yang et al., SOSP 2023) over childless blocks.
 *
 * New blocks enter a small queue (a tenth of what is queued), and leave it for
 * the main queue if they were used, else for a ghost: a table that remembers
 * their keys a while. A key found there goes to the main queue at once. The
 * main queue is a FIFO in which a used block gets another round.
 *
 * A block whose last child was taken joins that child's queue at the cold end
 * with the uses it has seen itself: a chain is tried from its end upwards.
 */
#include "daemon/core/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HEAT_MAX	3
#define SMALL_SHARE	10u	/* of what is queued */
#define GHOST_WAYS	4u
#define STEPS_MAX	64	/* then the next one goes, used or not */

enum { OUT, SMALL, MAIN };

struct ghost {
	uint32_t print;		/* of the key */
	uint32_t when;		/* on the clock of evictions */
};

struct policy {
	struct node *nodes;
	const struct ckv_record *records;
	struct queue queue[3];
	uint8_t victim_queue;	/* of the last victim */
	uint32_t clock;		/* evictions from the small queue */
	uint32_t n_pages;
	uint32_t n_ghosts;	/* multiple of GHOST_WAYS */
	struct ghost *ghosts;
};

static uint32_t ghosts_for(uint32_t n_pages)
{
	return (n_pages + GHOST_WAYS - 1) / GHOST_WAYS * GHOST_WAYS;
}

static int s3fifo_create(struct node *nodes, const struct ckv_record *records,
			 uint32_t n_pages, struct policy **ret_policy)
{
	struct policy *s3 = calloc(1, sizeof *s3);

	if (s3 == NULL)
		return -ENOMEM;
	s3->n_ghosts = ghosts_for(n_pages);
	s3->ghosts = calloc(s3->n_ghosts, sizeof *s3->ghosts);
	if (s3->ghosts == NULL) {
		free(s3);
		return -ENOMEM;
	}
	s3->nodes = nodes;
	s3->records = records;
	s3->n_pages = n_pages;
	s3->clock = n_pages;	/* an empty place is too old */
	queue_init(&s3->queue[SMALL]);
	queue_init(&s3->queue[MAIN]);
	*ret_policy = s3;
	return 0;
}

static size_t s3fifo_private_bytes(uint32_t n_pages)
{
	return sizeof(struct policy) + ghosts_for(n_pages) * sizeof(struct ghost);
}

static void s3fifo_destroy(struct policy *s3)
{
	free(s3->ghosts);
	free(s3);
}

/* ---- ghosts ---- */

static struct ghost *ghost_set(struct policy *s3, uint32_t page,
			       uint32_t *ret_print)
{
	uint64_t word[4], h;

	memcpy(word, &s3->records[page].key, sizeof word);
	h = ckv_fold(word[0] ^ 0x9e3779b97f4a7c15u, word[1] ^ 0xd6e8feb86659fd93u) ^
	    ckv_fold(word[2] ^ 0xa0761d6478bd642fu, word[3] ^ 0xe7037ed1a0b428dbu);
	*ret_print = (uint32_t)(h >> 32);
	return &s3->ghosts[((h & 0xffffffffu) *
			    (s3->n_ghosts / GHOST_WAYS) >> 32) * GHOST_WAYS];
}

static void ghost_add(struct policy *s3, uint32_t page)
{
	uint32_t print, oldest = 0;
	struct ghost *set = ghost_set(s3, page, &print);

	s3->clock++;
	for (uint32_t i = 1; i < GHOST_WAYS; i++)
		if (s3->clock - set[i].when > s3->clock - set[oldest].when)
			oldest = i;
	set[oldest] = (struct ghost){ .print = print, .when = s3->clock };
}

static bool ghost_take(struct policy *s3, uint32_t page)
{
	uint32_t print;
	struct ghost *set = ghost_set(s3, page, &print);

	for (uint32_t i = 0; i < GHOST_WAYS; i++) {
		if (set[i].print == print &&
		    s3->clock - set[i].when < s3->n_pages) {
			set[i].when = s3->clock - s3->n_pages;
			return true;
		}
	}
	return false;
}

/* ---- queues ---- */

/* node.stamp remembers the queue while the block is in none. */
static void enter(struct policy *s3, uint32_t page, uint8_t queue, bool head)
{
	struct node *node = &s3->nodes[page];

	assert(node->queue == OUT);
	node->queue = queue;
	node->stamp = queue;
	if (head)
		queue_put_head(&s3->queue[queue], s3->nodes, page);
	else
		queue_put_tail(&s3->queue[queue], s3->nodes, page);
}

static void s3fifo_touch(struct policy *s3, uint32_t page)
{
	struct node *node = &s3->nodes[page];

	if (node->heat < HEAT_MAX)
		node->heat++;
}

static void s3fifo_insert(struct policy *s3, uint32_t page,
			  enum policy_origin origin)
{
	struct node *node = &s3->nodes[page];

	switch (origin) {
	case POLICY_NEW:
		enter(s3, page, ghost_take(s3, page) ? MAIN : SMALL, true);
		break;
	case POLICY_HEIR:
		enter(s3, page, s3->victim_queue, false);
		break;
	case POLICY_BACK:
		enter(s3, page, (uint8_t)node->stamp, true);
		s3fifo_touch(s3, page);
		break;
	}
}

static void s3fifo_remove(struct policy *s3, uint32_t page)
{
	struct node *node = &s3->nodes[page];

	assert(node->queue == SMALL || node->queue == MAIN);
	queue_remove(&s3->queue[node->queue], s3->nodes, page);
	node->queue = OUT;
}

/* The next to go if it is cold; else it moves on and CKV_NONE comes back. */
static uint32_t try_tail(struct policy *s3, uint8_t queue, bool force)
{
	uint32_t page = s3->queue[queue].tail;
	struct node *node = &s3->nodes[page];

	s3fifo_remove(s3, page);
	if (node->heat > 0 && !force) {
		node->heat = queue == SMALL ? 0 : (uint8_t)(node->heat - 1);
		enter(s3, page, MAIN, true);
		return CKV_NONE;
	}
	if (queue == SMALL)
		ghost_add(s3, page);
	s3->victim_queue = queue;
	return page;
}

static uint32_t s3fifo_victim(struct policy *s3)
{
	for (int step = 0; ; step++) {
		uint32_t n_small = s3->queue[SMALL].n;
		uint32_t n_main = s3->queue[MAIN].n, page;
		uint8_t queue = SMALL;

		if (n_small + n_main == 0)
			return CKV_NONE;
		if (n_small == 0 || (n_main > 0 &&
		    n_small < (n_small + n_main) / SMALL_SHARE))
			queue = MAIN;
		page = try_tail(s3, queue, step >= STEPS_MAX);
		if (page != CKV_NONE)
			return page;
	}
}

const struct policy_ops policy_s3fifo = {
	.name = "s3fifo",
	.help = "S3-FIFO: blocks used once do not push out blocks used often",
	.create = s3fifo_create,
	.private_bytes = s3fifo_private_bytes,
	.destroy = s3fifo_destroy,
	.insert = s3fifo_insert,
	.touch = s3fifo_touch,
	.remove = s3fifo_remove,
	.victim = s3fifo_victim,
};
