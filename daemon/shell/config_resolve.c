/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_resolve.c - compute what follows from the keys: geometry, pool, limits, users.
 */
#include "daemon/shell/config.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Few slabs: storing the descriptor of one costs the start milliseconds (keep.h). */
#define SLAB_USUAL_MAX	(64ull << 30)

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

int config_resolve_daemon(const struct daemon_params *p, char text[CONFIG_WHY_BYTES])
{
	const struct {
		const char *name;
		uint64_t value, limit;
		bool power;
	} row[] = {
		{ "lane_slots", p->lane_slots, p->max_lane_slots, true },
		{ "lane_pins", p->lane_pins, p->max_lane_pins, false },
		{ "lane_touches", p->lane_touches, p->max_lane_touches, true },
		{ "lane_arg_bytes", p->lane_arg_bytes, p->max_lane_arg_bytes,
		  false },
	};

	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		if (row[i].value > row[i].limit) {
			snprintf(text, CONFIG_WHY_BYTES, "%s is %" PRIu64 ", above max_%s, "
				 "%" PRIu64, row[i].name, row[i].value,
				 row[i].name, row[i].limit);
			return -EINVAL;
		}
		if (row[i].power && (!power_of_two(row[i].value) ||
				     !power_of_two(row[i].limit))) {
			snprintf(text, CONFIG_WHY_BYTES, "%s and max_%s: expected powers of "
				 "two, not %" PRIu64 " and %" PRIu64,
				 row[i].name, row[i].name, row[i].value,
				 row[i].limit);
			return -EINVAL;
		}
	}
	if (p->lane_arg_bytes % 4096 || p->max_lane_arg_bytes % 4096) {
		snprintf(text, CONFIG_WHY_BYTES, "lane_arg_bytes and max_lane_arg_bytes: "
			 "expected multiples of 4096");
		return -EINVAL;
	}
	if ((p->socket_mode & 0222) == 0) {
		snprintf(text, CONFIG_WHY_BYTES, "socket_mode is %#" PRIo64 ": who "
			 "connects needs the permission to write, and nobody has it; "
			 "expected one such as 0660", p->socket_mode);
		return -EINVAL;
	}
	if (p->spin_min > p->spin_max) {
		snprintf(text, CONFIG_WHY_BYTES, "spin_min is longer than spin_max");
		return -EINVAL;
	}
	return 0;
}

_Static_assert(sizeof ((struct space_params *)0)->model == CKV_MODEL_BYTES,
	       "a name of the configuration fits");

static int hex_digit(char letter)
{
	if (letter >= '0' && letter <= '9')
		return letter - '0';
	if (letter >= 'a' && letter <= 'f')
		return letter - 'a' + 10;
	if (letter >= 'A' && letter <= 'F')
		return letter - 'A' + 10;
	return -EINVAL;
}

/* All hex digits, or an empty text: then the first client names the weights. */
static int resolve_weights(const char *hex, uint8_t weights[CKV_WEIGHTS_BYTES],
			   char text[CONFIG_WHY_BYTES])
{
	size_t n = strlen(hex);

	for (size_t i = 0; i < n; i++) {
		int digit = hex_digit(hex[i]);

		if (digit < 0 || n != 2 * CKV_WEIGHTS_BYTES) {
			snprintf(text, CONFIG_WHY_BYTES, "weights = %s: expected %u hex digits",
				 hex, 2 * CKV_WEIGHTS_BYTES);
			return -EINVAL;
		}
		weights[i / 2] = (uint8_t)(weights[i / 2] << 4 | digit);
	}
	return 0;
}

static int resolve_opaque(const struct space_params *p, struct ckv_geometry *g,
			  char text[CONFIG_WHY_BYTES])
{
	if (p->block_bytes == CONFIG_NONE) {
		snprintf(text, CONFIG_WHY_BYTES, "layout = opaque: the key block_bytes is "
			 "missing");
		return -EINVAL;
	}
	g->opaque_bytes = p->block_bytes;
	return 0;
}

uint32_t config_workers(const struct daemon_params *p)
{
	if (p->workers != CONFIG_NONE)
		return (uint32_t)p->workers;
	return sys_processors() < 2 ? 1 : 2;
}

uint32_t config_touch_threads(const struct daemon_params *p)
{
	uint32_t n = sys_processors();

	if (p->touch_threads != 0)
		return (uint32_t)p->touch_threads;
	return n > 16 ? 16 : n;
}

static int resolve_geometry(struct config_space *space, char text[CONFIG_WHY_BYTES])
{
	const struct space_params *p = &space->params;
	struct ckv_geometry *g = &space->geometry;

	memset(g, 0, sizeof *g);
	memcpy(g->model, p->model, sizeof g->model);
	g->block_tokens = (uint32_t)p->block_tokens;
	g->n_ranks = 1;
	g->layout = (uint32_t)p->layout + 1;
	g->key_scheme = (uint32_t)p->keys + 1;
	if (resolve_weights(p->weights, g->weights, text) < 0)
		return -EINVAL;
	if (g->layout == CKV_LAYOUT_OPAQUE)
		return resolve_opaque(p, g, text);
	if (p->block_bytes != CONFIG_NONE) {
		snprintf(text, CONFIG_WHY_BYTES, "block_bytes: only with layout = opaque; "
			 "layers, kv_heads and head_dim say it here");
		return -EINVAL;
	}
	g->n_layers = (uint32_t)p->layers;
	g->n_kv_heads = (uint32_t)p->kv_heads;
	g->dim_k = (uint32_t)p->head_dim;
	g->dim_v = p->head_dim_v == CONFIG_NONE ? g->dim_k :
		   (uint32_t)p->head_dim_v;
	g->dtype = (uint32_t)p->dtype + 1;
	if (ckv_block_bytes(g) > 1ull << 36) {
		snprintf(text, CONFIG_WHY_BYTES, "layers, kv_heads, head_dim and block_tokens "
			 "make a block of %" PRIu64 " bytes; at most 64 GiB",
			 ckv_block_bytes(g));
		return -EINVAL;
	}
	return 0;
}

/*
 * How many pages a slab has. If `slab` is unset it is 1/16 of the pool, so that in a
 * small pool, too, views can have slabs of their own; in a large one at most
 * SLAB_USUAL_MAX, but larger if there would be more than CONFIG_SLABS_MAX.
 */
static uint64_t slab_pages(const struct space_params *p, uint64_t page,
			   uint64_t n_pages)
{
	uint64_t slab = p->slab, n, least;

	if (slab == CONFIG_NONE) {
		slab = p->pool / 16;
		slab = slab > SLAB_USUAL_MAX ? SLAB_USUAL_MAX : slab;
		slab = slab < CKV_HUGE_BYTES ? CKV_HUGE_BYTES : slab;
	}
	n = slab < page ? 1 : slab / page;
	least = (n_pages + CONFIG_SLABS_MAX - 1) / CONFIG_SLABS_MAX;
	if (p->slab == CONFIG_NONE && n < least)
		n = least;
	return n > n_pages ? n_pages : n;
}

/* Pages and slots of the index are numbered in 32 bits: so many pages are possible. */
static uint64_t pages_max(void)
{
	return (uint64_t)(CKV_NONE / CKV_BUCKET_ENTRIES - 1) * 22;
}

static int judge_pool(const struct space_params *p, uint64_t page,
		      uint64_t n_pages, uint64_t n_slab_pages, char text[CONFIG_WHY_BYTES])
{
	uint64_t n_slabs = n_slab_pages ? n_pages / n_slab_pages : 0;

	if (n_pages == 0)
		snprintf(text, CONFIG_WHY_BYTES, "pool is %" PRIu64 " bytes, less than one "
			 "page of %" PRIu64 " bytes", p->pool, page);
	else if (n_pages > pages_max())
		snprintf(text, CONFIG_WHY_BYTES, "pool: %" PRIu64 " pages of %" PRIu64 " bytes; "
			 "at most %" PRIu64 ": expected a smaller pool or more "
			 "block_tokens", n_pages, page, pages_max());
	else if (n_slabs > CONFIG_SLABS_MAX)
		snprintf(text, CONFIG_WHY_BYTES, "slab: the pool would be cut into %" PRIu64
			 " slabs; at most %u: expected %" PRIu64 " bytes or more, "
			 "or no slab= at all", n_slabs, CONFIG_SLABS_MAX,
			 (n_pages + CONFIG_SLABS_MAX - 1) / CONFIG_SLABS_MAX *
			 page);
	else
		return 0;
	return -EINVAL;
}

static int resolve_pool(struct config_space *space, char text[CONFIG_WHY_BYTES])
{
	const struct space_params *p = &space->params;
	struct ckv_pool_shape *pool = &space->pool;
	uint64_t page = ckv_round_up(ckv_block_bytes(&space->geometry),
				     CKV_PIECE_BYTES);
	uint64_t n_pages = p->pool / page, n_slabs, n_view_slabs;
	uint64_t n_slab_pages = slab_pages(p, page, n_pages);
	int r = judge_pool(p, page, n_pages, n_slab_pages, text);

	if (r < 0)
		return r;
	n_slabs = n_pages / n_slab_pages;
	n_view_slabs = p->views == 0 ? 0 : (n_slabs * p->views + 50) / 100;
	if (p->views != 0 && n_view_slabs == 0 && n_slabs > 1)
		n_view_slabs = 1;
	if (n_view_slabs == n_slabs)
		n_view_slabs = n_slabs - 1;
	memset(pool, 0, sizeof *pool);
	pool->page_bytes = page;
	pool->slab_pages = (uint32_t)n_slab_pages;
	pool->slab_stride = ckv_round_up(n_slab_pages * page, CKV_HUGE_BYTES);
	pool->n_slabs = (uint32_t)n_slabs;
	pool->n_block_pages = (uint32_t)(n_slabs - n_view_slabs) *
			      pool->slab_pages;
	pool->first_view_page = pool->n_block_pages;
	pool->n_view_pages = (uint32_t)n_view_slabs * pool->slab_pages;
	space->n_pages_max = pool->n_block_pages;
	if (p->quota != 0 && p->quota < page) {
		snprintf(text, CONFIG_WHY_BYTES, "quota is %" PRIu64 " bytes, less than one page of %"
			 PRIu64 " bytes: nothing could be stored; 0 is no quota",
			 p->quota, page);
		return -EINVAL;
	}
	if (p->quota != 0 && p->quota / page < pool->n_block_pages)
		space->n_pages_max = (uint32_t)(p->quota / page);
	return 0;
}

static int resolve_secret(struct config_space *space, char text[CONFIG_WHY_BYTES])
{
	const char *path = space->params.secret_file;
	uint8_t extra;
	struct stat s;
	ssize_t n, more = 0;
	int fd;

	memset(space->secret, 0, sizeof space->secret);
	if (path[0] == 0)
		return 0;
	/* A pipe has the reader wait for its writer, and a reload waits for nobody. */
	if (sys_stat(path, &s) == 0 && !S_ISREG(s.st_mode)) {
		snprintf(text, CONFIG_WHY_BYTES, "secret_file = %s: it is not a regular file",
			 path);
		return -EINVAL;
	}
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0) {
		snprintf(text, CONFIG_WHY_BYTES, "secret_file = %s: %s", path,
			 strerror(-fd));
		return -EINVAL;
	}
	n = sys_read(fd, space->secret, sizeof space->secret);
	if (n == sizeof space->secret)
		more = sys_read(fd, &extra, 1);
	sys_close(fd);
	if (n != sizeof space->secret || more != 0) {
		snprintf(text, CONFIG_WHY_BYTES, "secret_file = %s: expected exactly 32 bytes",
			 path);
		return -EINVAL;
	}
	return 0;
}

static int whole_number(const char *text, uint32_t *ret_id)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end != 0 || n > UINT32_MAX - 1)
		return -EINVAL;
	*ret_id = (uint32_t)n;
	return 0;
}

/* Look up one word of an allow list: a user or @group, by name or number. */
static int allow_id(const char *word, uint32_t *ret_id)
{
	const struct passwd *user;
	const struct group *group;

	if (whole_number(word + (word[0] == '@'), ret_id) == 0)
		return 0;
	if (word[0] == '@') {
		group = getgrnam(word + 1);
		if (group == NULL)
			return -ENOENT;
		*ret_id = group->gr_gid;
		return 0;
	}
	user = getpwnam(word);
	if (user == NULL)
		return -ENOENT;
	*ret_id = user->pw_uid;
	return 0;
}

static int resolve_allow(const char *key, const char *list,
			 struct config_allow *allow, char text[CONFIG_WHY_BYTES])
{
	char copy[CONFIG_TEXT_BYTES], *word, *rest = copy;

	memset(allow, 0, sizeof *allow);
	snprintf(copy, sizeof copy, "%s", list);
	while ((word = strtok_r(rest, ", \t", &rest)) != NULL) {
		if (strcmp(word, "*") == 0) {
			allow->all = true;
			continue;
		}
		if (allow->n == CONFIG_ALLOW_MAX) {
			snprintf(text, CONFIG_WHY_BYTES, "%s: at most %u names", key,
				 CONFIG_ALLOW_MAX);
			return -EINVAL;
		}
		if (allow_id(word, &allow->id[allow->n]) < 0) {
			snprintf(text, CONFIG_WHY_BYTES, "%s: there is no %s %s", key,
				 word[0] == '@' ? "group" : "user", word);
			return -EINVAL;
		}
		allow->group[allow->n++] = word[0] == '@';
	}
	return 0;
}

static bool in_list(const struct config_allow *allow, uid_t uid,
		    const gid_t *gids, size_t n_gids)
{
	for (uint32_t i = 0; i < allow->n; i++) {
		if (!allow->group[i] && allow->id[i] == uid)
			return true;
		for (size_t g = 0; allow->group[i] && g < n_gids; g++)
			if (gids[g] == allow->id[i])
				return true;
	}
	return allow->all;
}

bool config_allows_nobody(const struct config_space *space)
{
	return !space->allow_read.all && space->allow_read.n == 0 &&
	       !space->allow_write.all && space->allow_write.n == 0;
}

/* Users that may write may also read. Stats may be read by those that may read. */
bool config_allows(const struct config_space *space, uint32_t access,
		   uid_t uid, const gid_t *gids, size_t n_gids)
{
	if (in_list(&space->allow_write, uid, gids, n_gids))
		return true;
	return access != CKV_ACCESS_WRITE &&
	       in_list(&space->allow_read, uid, gids, n_gids);
}

int config_resolve_space(struct config_space *space, char text[CONFIG_WHY_BYTES])
{
	const char *policy = space->params.policy;
	int r;

	space->policy = strcmp(policy, "default") == 0 ? policy_at(0) :
			policy_find(policy);
	if (space->policy == NULL) {
		int n = snprintf(text, CONFIG_WHY_BYTES, "policy = %s: expected default",
				 policy);

		for (uint32_t i = 0; policy_at(i) && n < (int)CONFIG_WHY_BYTES; i++)
			n += snprintf(text + n, CONFIG_WHY_BYTES - (size_t)n, " or %s",
				      policy_at(i)->name);
		return -EINVAL;
	}
	r = resolve_geometry(space, text);
	if (r == 0)
		r = resolve_pool(space, text);
	if (r == 0)
		r = resolve_secret(space, text);
	if (r == 0)
		r = config_resolve_compress(space, text);
	if (r == 0)
		r = resolve_allow("allow_read", space->params.allow_read,
				  &space->allow_read, text);
	if (r == 0)
		r = resolve_allow("allow_write", space->params.allow_write,
				  &space->allow_write, text);
	return r;
}
