/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.c - a client made by hand.
 */
#include "tests/crash/raw.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define must(condition)							\
	do {								\
		if (!(condition)) {					\
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__,	\
				__LINE__, #condition, strerror(errno));	\
			_exit(RAW_BROKEN);				\
		}							\
	} while (0)

void raw_nap(void)
{
	nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
}

int raw_connect(const char *socket_path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	strncpy(a.sun_path, socket_path, sizeof a.sun_path - 1);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

union fds {
	char bytes[CMSG_SPACE(CKV_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

int raw_send(int fd, const void *bytes, size_t n_bytes, const int *fds,
	     uint32_t n_fds)
{
	union fds control;
	struct iovec iov = { (void *)(uintptr_t)bytes, n_bytes };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		memset(&control, 0, sizeof control);
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t raw_receive(int fd, void *bytes, size_t max, int *fds, uint32_t *ret_n_fds)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	union fds control;
	struct iovec iov = { bytes, max };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof control.bytes };
	ssize_t n;

	*ret_n_fds = 0;
	if (poll(&p, 1, RAW_WAIT_MS) == 0)
		return -ETIMEDOUT;
	n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (CMSG_FIRSTHDR(&m) != NULL) {
		*ret_n_fds = (uint32_t)((CMSG_FIRSTHDR(&m)->cmsg_len -
					 CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)),
		       *ret_n_fds * sizeof(int));
	}
	return n;
}

void raw_head(void *message, uint16_t type, size_t bytes, uint32_t n_fds)
{
	struct ckv_control_head head = {
		.magic = CKV_CONTROL_MAGIC, .type = type,
		.protocol_version = CKV_PROTOCOL_VERSION,
		.n_fds = n_fds, .n_bytes = (uint32_t)bytes,
	};

	memcpy(message, &head, sizeof head);
}

static void *map_from(int fd, uint64_t offset, size_t bytes, int prot)
{
	void *base = mmap(NULL, bytes, prot, MAP_SHARED, fd, (off_t)offset);

	must(base != MAP_FAILED);
	close(fd);
	return base;
}

static void *map(int fd, size_t bytes, int prot)
{
	return map_from(fd, 0, bytes, prot);
}

static size_t fd_bytes(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0);
	return (size_t)st.st_size;
}

int raw_hello(int fd, pid_t pid, uint32_t layout_version, void *ret)
{
	struct ckv_hello hello = { .layout_version = layout_version,
				   .pid = (uint32_t)pid, .name = "raw" };
	int fds[CKV_FDS_MAX], pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint32_t n_fds;
	int r;

	must(pidfd >= 0);
	raw_head(&hello, CKV_HELLO, sizeof hello, 1);
	r = raw_send(fd, &hello, sizeof hello, &pidfd, 1);
	close(pidfd);
	if (r < 0)
		return r;
	r = (int)raw_receive(fd, ret, CKV_CONTROL_BYTES_MAX, fds, &n_fds);
	for (uint32_t i = 0; i < n_fds; i++)
		close(fds[i]);
	return r <= 0 ? r : ((struct ckv_control_head *)ret)->type;
}

/* One message of the expected type, with its descriptors. */
static void expect(struct raw *raw, uint16_t type, void *ret, size_t bytes,
		   int *fds, uint32_t n_fds)
{
	char text[CKV_CONTROL_BYTES_MAX];
	const struct ckv_control_head *head = (const void *)text;
	const struct ckv_refused *refused = (const void *)text;
	uint32_t n = 0;
	ssize_t r = raw_receive(raw->fd, text, sizeof text, fds, &n);

	if (r > 0 && head->type == CKV_REFUSED)
		fprintf(stderr, "refused: %s\n", refused->text);
	must(r == (ssize_t)bytes && head->type == type && n >= n_fds);
	memcpy(ret, text, bytes);
}

void raw_open(struct raw *raw, const char *socket_path)
{
	struct ckv_hello hello = { .layout_version = CKV_LAYOUT_VERSION,
				   .pid = (uint32_t)getpid(), .name = "raw" };
	int fds[CKV_FDS_MAX], pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct ckv_welcome welcome;

	memset(raw, 0, sizeof *raw);
	raw->fd = raw_connect(socket_path);
	must(raw->fd >= 0 && pidfd >= 0);
	raw_head(&hello, CKV_HELLO, sizeof hello, 1);
	must(raw_send(raw->fd, &hello, sizeof hello, &pidfd, 1) == 0);
	close(pidfd);
	expect(raw, CKV_WELCOME, &welcome, sizeof welcome, fds, 2);
	raw->epoch = welcome.epoch;
	raw->world = map(fds[0], CKV_WORLD_BYTES, PROT_READ);
	raw->stats_bytes = fd_bytes(fds[1]);
	raw->stats = map(fds[1], raw->stats_bytes, PROT_READ);
}

static void map_slabs(struct raw *raw)
{
	const struct ckv_pool_shape *pool = &raw->space.pool;
	struct ckv_slabs slabs;
	int fds[CKV_FDS_MAX];

	must(pool->n_slabs <= RAW_SLABS_MAX);
	raw->read_base = mmap(NULL, pool->n_slabs * pool->slab_stride, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(raw->read_base != MAP_FAILED);
	for (uint32_t n = 0; n < pool->n_slabs; ) {
		expect(raw, CKV_SLABS, &slabs, sizeof slabs, fds, 1);
		for (uint32_t i = 0; i < slabs.head.n_fds; i++, n++) {
			void *at = raw->read_base +
				   (slabs.first_slab + i) * pool->slab_stride;

			must(mmap(at, ckv_slab_bytes(pool), PROT_READ,
				  MAP_SHARED | MAP_FIXED, fds[i], 0) == at);
			close(fds[i]);
		}
	}
}

void raw_attach(struct raw *raw, const char *space, uint32_t access)
{
	struct ckv_attach attach = { .access = access, .any_geometry = CKV_WANT_ANY };
	const struct ckv_index_head *head;
	int fds[CKV_FDS_MAX];
	char *index;

	strncpy(attach.space, space, sizeof attach.space - 1);
	raw_head(&attach, CKV_ATTACH, sizeof attach, 0);
	must(raw_send(raw->fd, &attach, sizeof attach, NULL, 0) == 0);
	expect(raw, CKV_ATTACHED, &raw->space, sizeof raw->space, fds, 2);
	raw->space_stats = map(fds[0], CKV_SPACE_STATS_BYTES, PROT_READ);
	index = map(fds[1], ckv_index_bytes(raw->space.n_buckets), PROT_READ);
	head = (const void *)index;
	raw->index.buckets = (void *)(index + CKV_INDEX_HEAD_BYTES);
	raw->index.n_buckets = raw->space.n_buckets;
	memcpy(raw->index.seed, head->seed, sizeof head->seed);
	map_slabs(raw);
}

void raw_close(struct raw *raw)
{
	const struct ckv_pool_shape *pool = &raw->space.pool;

	for (uint32_t i = 0; i < pool->n_slabs; i++)
		if (raw->write_slab[i] != NULL)
			munmap(raw->write_slab[i], ckv_slab_bytes(pool));
	if (raw->read_base != NULL) {
		munmap(raw->read_base, pool->n_slabs * pool->slab_stride);
		munmap((char *)raw->index.buckets - CKV_INDEX_HEAD_BYTES,
		       ckv_index_bytes(raw->index.n_buckets));
		munmap(raw->space_stats, CKV_SPACE_STATS_BYTES);
	}
	munmap(raw->stats, raw->stats_bytes);
	munmap(raw->world, CKV_WORLD_BYTES);
	close(raw->fd);
}

static void lane_map(struct raw_lane *lane, uint64_t c_offset, const int *fds)
{
	lane->map = ckv_lane_map(&lane->shape);
	lane->c = map_from(fds[0], c_offset, lane->map.c_bytes, PROT_READ | PROT_WRITE);
	lane->d = map(fds[1], lane->map.d_bytes, PROT_READ);
	lane->eventfd = fds[2];
	lane->c_head = (void *)lane->c;
	lane->d_head = (void *)lane->d;
	lane->requests = (struct ckv_ring_end){
		.slots = (void *)(lane->c + lane->map.requests),
		.credit = &lane->d_head->req_credit,
		.n_slots = lane->shape.n_slots };
	lane->completions = (struct ckv_ring_end){
		.slots = (void *)(lane->d + lane->map.completions),
		.credit = &lane->c_head->comp_credit,
		.n_slots = lane->shape.n_slots };
}

int raw_lane_ask(struct raw *raw, struct raw_lane *lane,
		 const struct ckv_lane_shape *shape)
{
	struct ckv_lane_open open = { .space_id = raw->space.space_id,
				      .shape = *shape };
	char text[CKV_CONTROL_BYTES_MAX];
	const struct ckv_control_head *head = (const void *)text;
	const struct ckv_lane_opened *opened = (const void *)text;
	const struct ckv_refused *refused = (const void *)text;
	int fds[CKV_FDS_MAX];
	uint32_t n_fds;

	memset(lane, 0, sizeof *lane);
	lane->raw = raw;
	raw_head(&open, CKV_LANE_OPEN, sizeof open, 0);
	must(raw_send(raw->fd, &open, sizeof open, NULL, 0) == 0);
	do
		must(raw_receive(raw->fd, text, sizeof text, fds, &n_fds) > 0);
	while (head->type == CKV_EVENT);
	if (head->type == CKV_REFUSED)
		return -(int)refused->error;
	must(head->type == CKV_LANE_OPENED && n_fds == 3);
	lane->serial = opened->serial;
	lane->shape = opened->shape;
	lane_map(lane, opened->c_offset, fds);
	return 0;
}

void raw_lane_open(struct raw *raw, struct raw_lane *lane)
{
	static const struct ckv_lane_shape any;

	must(raw_lane_ask(raw, lane, &any) == 0);
}

void raw_lane_close(struct raw_lane *lane)
{
	struct ckv_lane_close close_it = { .serial = lane->serial };
	struct ckv_control_id done;
	int fds[CKV_FDS_MAX];

	raw_head(&close_it, CKV_LANE_CLOSE, sizeof close_it, 0);
	must(raw_send(lane->raw->fd, &close_it, sizeof close_it, NULL, 0) == 0);
	expect(lane->raw, CKV_DONE, &done, sizeof done, fds, 0);
	munmap(lane->c, lane->map.c_bytes);
	munmap(lane->d, lane->map.d_bytes);
	close(lane->eventfd);
}

void raw_knock(struct raw_lane *lane)
{
	uint64_t one = 1;

	if (ckv_wake_needed(&lane->raw->world->reactor_sleeping))
		(void)!write(lane->eventfd, &one, sizeof one);
}

int raw_put(struct raw_lane *lane, const struct ckv_req *request)
{
	struct ckv_msg msg;
	int r;

	memcpy(&msg, request, sizeof msg);
	r = ckv_ring_put(&lane->requests, &msg);
	raw_knock(lane);
	return r;
}

int raw_take(struct raw_lane *lane, struct ckv_comp *ret)
{
	struct ckv_msg msg;
	int r;

	for (int i = 0; i < RAW_WAIT_MS + 2000; i++) {
		r = ckv_ring_take(&lane->completions, &msg);
		if (r == 0) {
			ckv_ring_credit(&lane->completions);
			memcpy(ret, &msg, sizeof *ret);
			return 0;
		}
		must(r == -EAGAIN);
		if (ckv_lane_state(lane->d_head) != 0)
			return -ECONNABORTED;
		if (i > 2000)
			raw_nap();
	}
	return -ETIMEDOUT;
}

int raw_request(struct raw_lane *lane, uint8_t op, uint8_t flags,
		const void *arg, uint32_t arg_bytes, uint32_t n,
		void *ret_answer, uint32_t answer_bytes)
{
	struct ckv_req request = { .op = op, .flags = flags, .tag = ++lane->tag,
				   .arg_bytes = arg_bytes, .n = n };
	struct ckv_comp completion;
	int r;

	if (arg_bytes > 0)
		memcpy(lane->c + lane->map.args, arg, arg_bytes);
	r = raw_put(lane, &request);
	if (r == 0)
		r = raw_take(lane, &completion);
	if (r < 0)
		return r;
	must(completion.tag == request.tag);
	if (answer_bytes > 0)
		memcpy(ret_answer, lane->d + lane->map.results, answer_bytes);
	return completion.result;
}

uint32_t raw_closed(struct raw_lane *lane)
{
	uint32_t why = 0;

	for (int i = 0; i < RAW_WAIT_MS && why == 0; i++) {
		why = ckv_lane_state(lane->d_head);
		if (why == 0)
			raw_nap();
	}
	return why;
}

/* The write mappings that came with the pages just lent. */
static void take_slabs(struct raw *raw)
{
	char text[CKV_CONTROL_BYTES_MAX];
	const struct ckv_slabs *slabs = (const void *)text;
	struct pollfd p = { .fd = raw->fd, .events = POLLIN };
	int fds[CKV_FDS_MAX];
	uint32_t n;

	while (poll(&p, 1, 0) == 1 &&
	       raw_receive(raw->fd, text, sizeof text, fds, &n) > 0)
		if (slabs->head.type == CKV_SLAB_WRITE && n == 1)
			raw->write_slab[slabs->first_slab] =
				map(fds[0], ckv_slab_bytes(&raw->space.pool),
				    PROT_READ | PROT_WRITE);
}

int raw_reserve(struct raw_lane *lane, const struct ckv_key *parent,
		const struct ckv_key *key, struct ckv_lent *lent)
{
	struct {
		struct ckv_reserve_arg head;
		struct ckv_key key;
	} arg;
	int r;

	memset(&arg, 0, sizeof arg);
	arg.head.level = CKV_LEVEL_HOST;
	if (parent != NULL)
		arg.head.parent = *parent;
	arg.key = *key;
	r = raw_request(lane, CKV_OP_RESERVE, 0, &arg, sizeof arg, 1, lent,
			sizeof *lent);
	take_slabs(lane->raw);
	return r < 0 ? r : lent->status;
}

struct ckv_page_name raw_name(const struct raw *raw, const struct ckv_lent *lent)
{
	return (struct ckv_page_name){ lent->page, lent->lending, raw->epoch,
				       lent->level, 0 };
}

void *raw_page_write(struct raw_lane *lane, uint32_t page)
{
	const struct ckv_pool_shape *pool = &lane->raw->space.pool;

	must(lane->raw->write_slab[page / pool->slab_pages] != NULL);
	return lane->raw->write_slab[page / pool->slab_pages] +
	       page % pool->slab_pages * pool->page_bytes;
}

const void *raw_page_read(const struct raw *raw, uint32_t page)
{
	return raw->read_base + ckv_page_offset(&raw->space.pool, page);
}

static uint64_t word_of(const struct ckv_key *key, uint64_t i)
{
	uint64_t k[4];

	memcpy(k, key, sizeof k);
	return (k[0] * 0x9e3779b97f4a7c15u + k[1]) ^ i * 0xd6e8feb86659fd93u;
}

void page_fill(const struct ckv_key *key, void *page, size_t bytes)
{
	volatile uint64_t *words = page;

	for (uint64_t i = 0; i < bytes / 8; i++)
		words[i] = word_of(key, i);
}

bool page_is_right(const struct ckv_key *key, const void *page, size_t bytes)
{
	const volatile uint64_t *words = page;

	for (uint64_t i = 0; i < bytes / 8; i++)
		if (words[i] != word_of(key, i))
			return false;
	return true;
}

struct ckv_key raw_key(uint64_t a, uint64_t b)
{
	uint64_t k[4] = { a, b, 0x6b6579, ~a };
	struct ckv_key key;

	memcpy(&key, k, sizeof key);
	return key;
}

int raw_reserve_scratch(struct raw_lane *lane, uint32_t n, struct ckv_lent *lent)
{
	int r = raw_request(lane, CKV_OP_RESERVE, CKV_REQ_SCRATCH, NULL, 0, n,
			    lent, n * (uint32_t)sizeof *lent);

	take_slabs(lane->raw);
	return r;
}

int raw_store(struct raw_lane *lane, const struct ckv_key *parent,
	      const struct ckv_key *key)
{
	struct ckv_publish_item item = { .n_tokens = 1 };
	struct ckv_lent lent;
	int32_t status;
	int r = raw_reserve(lane, parent, key, &lent);

	if (r != 0)
		return r;
	page_fill(key, raw_page_write(lane, lent.page),
		  lane->raw->space.pool.page_bytes);
	item.name = raw_name(lane->raw, &lent);
	r = raw_request(lane, CKV_OP_PUBLISH, 0, &item, sizeof item, 1, &status,
			sizeof status);
	return r < 0 ? r : status;
}

int raw_judge(struct raw_lane *lane, const struct ckv_key *key, raw_right *right)
{
	struct raw *raw = lane->raw;
	struct ckv_place place = ckv_index_place(&raw->index, key);
	_Atomic uint64_t *pin = (void *)(lane->c + lane->map.pins);
	const struct ckv_entry *entry;
	struct ckv_block block;
	uint32_t slot;
	int r = 0;

	if (!ckv_index_find(&raw->index, &place, key, &slot, &block))
		return 0;
	entry = ckv_index_entry(&raw->index, slot);
	ckv_hint_store32(&lane->c_head->pin_high, 1);
	ckv_pin_set(pin, slot, block.generation);
	if (ckv_pin_confirm(entry, block.generation, raw->world, raw->epoch))
		r = right(raw, &block, raw_page_read(raw,
					ckv_pinned_host_page(entry))) ? 1 : -1;
	ckv_pin_drop(pin);
	return r;
}

static bool block_right(const struct raw *raw, const struct ckv_block *block,
			const void *page)
{
	return page_is_right(&block->key, page, raw->space.pool.page_bytes);
}

int raw_check(struct raw_lane *lane, const struct ckv_key *key)
{
	return raw_judge(lane, key, block_right);
}
