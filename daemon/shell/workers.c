/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.c - a pool of threads, two queues of jobs (high and low priority), and a
 * queue of finished jobs.
 */
#include "daemon/shell/workers.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

struct work_queue {
	struct work *first, **last;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct work_queue high, low, done;
	uint32_t n_low;		/* jobs of low priority that are running */
	bool stop;
	int fd;
	uint32_t n, n_threads;
	pthread_t thread[];
};

static void append(struct work_queue *q, struct work *work)
{
	work->next = NULL;
	*q->last = work;
	q->last = &work->next;
}

static struct work *pop(struct work_queue *q)
{
	struct work *work = q->first;

	if (work == NULL)
		return NULL;
	q->first = work->next;
	if (q->first == NULL)
		q->last = &q->first;
	return work;
}

/*
 * The next job to run. A client waits for each job of high priority, so those come
 * first. No client waits for a job of low priority: it runs only while another thread
 * is left that runs none, so that a new client's job does not wait for it. (If there
 * is one thread only, it runs both.)
 */
static struct work *choose(struct workers *w)
{
	struct work *work = pop(&w->high);

	if (work == NULL && (w->n_low + 1 < w->n_threads || w->n_low == 0))
		work = pop(&w->low);
	if (work != NULL)
		w->n_low += work->low;
	return work;
}

static void *serve(void *argument)
{
	struct workers *w = argument;
	const uint64_t one = 1;
	struct work *work;
	bool low;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		work = choose(w);
		if (work == NULL) {
			pthread_cond_wait(&w->wanted, &w->lock);
			continue;
		}
		low = work->low;
		pthread_mutex_unlock(&w->lock);
		work->run(work);
		pthread_mutex_lock(&w->lock);
		w->n_low -= low;
		append(&w->done, work);
		/* It fails only if the counter is full; then it is readable anyway. */
		(void)sys_write(w->fd, &one, sizeof one);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int workers_create(uint32_t n_threads, struct workers **ret_workers)
{
	struct workers *w;
	int r;

	r = sys_alloc(1, sizeof *w + n_threads * sizeof w->thread[0], &w);
	if (r < 0)
		return r;
	w->n_threads = n_threads;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wanted, NULL);
	w->high.last = &w->high.first;
	w->low.last = &w->low.first;
	w->done.last = &w->done.first;
	w->fd = sys_eventfd();
	r = w->fd;
	for (; r >= 0 && w->n < n_threads; w->n++) {
		r = sys_thread(&w->thread[w->n], serve, w);
		if (r < 0)
			break;
	}
	if (r < 0) {
		workers_destroy(w);
		return r;
	}
	*ret_workers = w;
	return 0;
}

void workers_destroy(struct workers *w)
{
	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->wanted);
	pthread_mutex_unlock(&w->lock);
	while (w->n > 0)
		pthread_join(w->thread[--w->n], NULL);
	pthread_cond_destroy(&w->wanted);
	pthread_mutex_destroy(&w->lock);
	sys_close(w->fd);
	sys_free(w);
}

int workers_fd(const struct workers *w)
{
	return w->fd;
}

void workers_give(struct workers *w, struct work *work)
{
	pthread_mutex_lock(&w->lock);
	append(work->low ? &w->low : &w->high, work);
	pthread_cond_signal(&w->wanted);
	pthread_mutex_unlock(&w->lock);
}

struct work *workers_take(struct workers *w)
{
	struct work *work;
	uint64_t n;

	pthread_mutex_lock(&w->lock);
	work = pop(&w->done);
	if (work == NULL)
		(void)sys_read(w->fd, &n, sizeof n);
	pthread_mutex_unlock(&w->lock);
	return work;
}

bool workers_stopping(struct workers *w)
{
	bool stop;

	pthread_mutex_lock(&w->lock);
	stop = w->stop;
	pthread_mutex_unlock(&w->lock);
	return stop;
}
