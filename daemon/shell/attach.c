/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach.c - answer each kind of message that a client sends: HELLO, ATTACH, LANE_OPEN,
 * LANE_CLOSE, SLAB_WANT, DETACH, RELOAD. control.c receives the messages.
 */
#include "daemon/shell/control.h"
#include "daemon/shell/geometry.h"
#include "daemon/shell/keep.h"
#include "daemon/shell/log.h"
#include "daemon/shell/reload.h"
#include "daemon/shell/sys.h"
#include "daemon/shell/users.h"
#include "daemon/shell/weights.h"
#include "proto/ckv_text.h"

#include <errno.h>
#include <string.h>

#define SLABS_PER_TURN 32u

int control_hello(struct daemon *d, struct client *client,
		  const struct ckv_hello *hello, int *fd)
{
	struct ckv_welcome welcome = {
		.layout_version = CKV_LAYOUT_VERSION, .n_spaces = d->n_spaces,
		.epoch = d->epoch, .version = CKV_VERSION,
	};
	char text[232], name[CKV_NAME_BYTES], shown[4 * CKV_NAME_BYTES];
	int fds[2], r;

	if (hello->layout_version != CKV_LAYOUT_VERSION) {
		(void)control_refuse(d, client, -EPROTONOSUPPORT, "the client "
				     "has memory layout version %u, ckvd "
				     CKV_VERSION " version %u",
				     hello->layout_version, CKV_LAYOUT_VERSION);
		return -EPROTONOSUPPORT;
	}
	r = client_identify(client, hello->pid, fd, text);
	if (r < 0) {
		(void)control_refuse(d, client, r, "%s", text);
		return r;
	}
	r = loop_watch(d->loop, client->pidfd,
		       watch_token(WATCH_DEATH, client->generation,
				   (uint32_t)(client - d->client)));
	if (r < 0) {
		sys_close(client->pidfd);
		client->pidfd = -1;
		(void)control_refuse_room(d, client, r, "ckvd cannot watch your "
					  "process");
		return r;
	}
	memcpy(name, hello->name, sizeof name);
	name[sizeof name - 1] = 0;
	client_count_known(d, client);
	client->state = CLIENT_ATTACHED;
	stats_client(d, client, name);
	d->n_clients++;
	ckv_hint_store64(&d->stats->clients, d->n_clients);
	ckv_count(&d->stats->clients_total, 1);
	fds[0] = memory_reader(d->world_memory.fd);
	fds[1] = fds[0] < 0 ? fds[0] : memory_reader(d->stats_memory.fd);
	r = fds[1] < 0 ? control_refuse_room(d, client, fds[1], "ckvd cannot "
					     "open a descriptor for you") :
	    control_send(d, client, &welcome, sizeof welcome, CKV_WELCOME, fds,
			 2);
	sys_close(fds[0]);
	sys_close(fds[1]);
	ckv_text_name(shown, sizeof shown, name, sizeof name);
	log_limited(LOG_DEBUG, d->now_ns, "client %d, \"%s\", uid %u",
		    (int)client->pid, shown, client->uid);
	return r;
}

/* May the client attach? The kernel tells the groups of the connection's process. */
static bool is_allowed(const struct client *client, const struct served_space *served,
		       uint32_t access)
{
	gid_t gids[CLIENT_GROUPS_MAX + 1];
	socklen_t bytes = CLIENT_GROUPS_MAX * sizeof(gid_t);

	gids[0] = client->gid;
	if (sys_socket_option(client->socket, SO_PEERGROUPS, &gids[1], &bytes) < 0)
		bytes = 0;
	return config_allows(served->config, access, client->uid, gids,
			     1 + bytes / sizeof(gid_t));
}

int control_send_slabs(struct daemon *d, struct client *client)
{
	const struct served_space *served = &d->served[client->slabs_space];
	struct ckv_slabs message = {
		.space_id = client->slabs_space,
		.first_slab = served->pool.shape.n_slabs - client->n_slabs_left,
	};
	int fds[SLABS_PER_TURN], r = 0;
	uint32_t n = 0;

	while (r == 0 && n < SLABS_PER_TURN && n < client->n_slabs_left) {
		fds[n] = memory_reader(served->pool.fds[message.first_slab + n]);
		if (fds[n] < 0)
			r = fds[n];
		else
			n++;
	}
	if (r == 0)
		r = control_send(d, client, &message, sizeof message, CKV_SLABS,
				 fds, n);
	if (r == 0)
		client->n_slabs_left -= n;
	while (n > 0)
		sys_close(fds[--n]);
	return r;
}

static int send_attached(struct daemon *d, struct client *client,
			 uint32_t space, uint32_t access)
{
	const struct served_space *served = &d->served[space];
	struct ckv_attached attached = {
		.space_id = space,
		.n_buckets = space_buckets(&served->pool.shape),
		.geometry = served->geometry,
		.pool = served->pool.shape,
	};
	uint32_t n = 1;
	int fds[2], r;

	if (access != CKV_ACCESS_STATS) {
		n = 2;
		memcpy(attached.secret, served->config->secret,
		       sizeof attached.secret);
	}
	fds[0] = memory_reader(served->stats_memory.fd);
	fds[1] = n < 2 || fds[0] < 0 ? -1 : memory_reader(served->index.fd);
	if (fds[0] < 0 || (n == 2 && fds[1] < 0)) {
		client->attached[space].access = 0;
		r = control_refuse_room(d, client, fds[0] < 0 ? fds[0] : fds[1],
					"ckvd cannot open a descriptor for you");
		goto out;
	}
	r = control_send(d, client, &attached, sizeof attached, CKV_ATTACHED, fds,
			 n);
	if (r == 0 && n == 2) {
		/* The slabs follow in later turns, before its next message is read. */
		client->slabs_space = space;
		client->n_slabs_left = served->pool.shape.n_slabs;
	}
out:
	sys_close(fds[0]);
	sys_close(fds[1]);
	return r;
}

/* Compare the client's model and weights with the space's. 0, or a refusal was sent. */
static int check_model(struct daemon *d, struct client *client, uint32_t space,
		    const struct ckv_attach *attach)
{
	const struct served_space *served = &d->served[space];
	char text[232];
	int r = 0;

	if (attach->any_geometry > CKV_WANT_SHAPE) {
		snprintf(text, sizeof text, "any_geometry is %u; expected 0 to 2",
			 attach->any_geometry);
		r = -EINVAL;
	}
	if (r == 0 && attach->any_geometry != CKV_WANT_ANY)
		r = geometry_compare(served->config->name, &served->geometry,
				     &attach->geometry, "at the client", text);
	if (r == 0)
		r = weights_attach(d, space, attach, text,
				   &client->attached[space].holds_weights);
	if (r < 0)
		(void)control_refuse(d, client, r, "%s", text);
	return r;
}

int control_attach(struct daemon *d, struct client *client,
		   const struct ckv_attach *attach)
{
	char name[CKV_NAME_BYTES], shown[3 * CKV_NAME_BYTES];
	struct served_space *served;
	uint32_t i = 0;
	int r;

	memcpy(name, attach->space, sizeof name);
	name[sizeof name - 1] = 0;
	while (i < d->n_spaces && strcmp(d->served[i].config->name, name) != 0)
		i++;
	if (i == d->n_spaces) {
		ckv_text_name(shown, sizeof shown, name, sizeof name);
		return control_refuse(d, client, -ENOENT, "there is no space "
				      "\"%s\"", shown);
	}
	served = &d->served[i];
	if (attach->access < CKV_ACCESS_STATS || attach->access > CKV_ACCESS_WRITE)
		return control_refuse(d, client, -EINVAL, "access is %u; "
				      "expected 1 to 3", attach->access);
	if (!is_allowed(client, served, attach->access))
		return control_refuse(d, client, -EACCES, "space %s: uid %u may "
				      "not attach to %s", name, client->uid,
				      attach->access == CKV_ACCESS_WRITE ?
				      "write" : "read");
	if (client->attached[i].access != 0)
		return control_refuse(d, client, -EALREADY, "space %s is "
				      "attached already", name);
	if (check_model(d, client, i, attach) < 0)
		return 0;
	memset(client->attached[i].slab_sent, 0,
	       (served->pool.shape.n_slabs + 63) / 64 * sizeof(uint64_t));
	client->attached[i].access = attach->access;
	r = send_attached(d, client, i, attach->access);
	if (r < 0)
		client->attached[i].access = 0;
	stats_client(d, client, NULL);
	return r;
}

/* Fill in defaults, and check the shape that is asked for. 0, or a refusal was sent. */
static int grant(struct daemon *d, struct client *client,
		 struct ckv_lane_shape *shape)
{
	const struct daemon_params *p = &d->config->daemon;
	const struct {
		const char *name;
		uint32_t *value;
		uint64_t usual, most;
	} field[] = {
		{ "n_slots", &shape->n_slots, p->lane_slots, p->max_lane_slots },
		{ "n_pins", &shape->n_pins, p->lane_pins, p->max_lane_pins },
		{ "n_touches", &shape->n_touches, p->lane_touches,
		  p->max_lane_touches },
		{ "arg_bytes", &shape->arg_bytes, p->lane_arg_bytes,
		  p->max_lane_arg_bytes },
	};

	for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
		if (*field[i].value == 0)
			*field[i].value = (uint32_t)field[i].usual;
		if (*field[i].value <= field[i].most)
			continue;
		(void)control_refuse(d, client, -EDQUOT, "a lane with %s %u; "
				     "at most %llu", field[i].name,
				     *field[i].value,
				     (unsigned long long)field[i].most);
		return -EDQUOT;
	}
	if (!ckv_lane_shape_ok(shape)) {
		(void)control_refuse(d, client, -EINVAL, "a lane of %u slots "
				     "and %u touches (powers of two, from 2), "
				     "%u argument bytes (a multiple of 4096)",
				     shape->n_slots, shape->n_touches,
				     shape->arg_bytes);
		return -EINVAL;
	}
	return 0;
}

int control_lane_open(struct daemon *d, struct client *client,
		      const struct ckv_lane_open *open)
{
	struct ckv_lane_shape shape = open->shape;
	struct lane *lane;
	char text[232];
	int r;

	if (open->space_id >= d->n_spaces ||
	    client->attached[open->space_id].access < CKV_ACCESS_READ)
		return control_refuse(d, client, -EINVAL, "space %u is not "
				      "attached to read", open->space_id);
	if (grant(d, client, &shape) < 0)
		return 0;
	r = user_may_open_lane(d, client, open->space_id, shape.n_pins, text);
	if (r < 0)
		return control_refuse(d, client, r, "%s", text);
	r = lane_create(d, client, open->space_id, &shape);
	if (r < 0)
		return control_refuse_room(d, client, r, "the lane cannot be made");
	lane = &d->lane[r];
	r = keep_lane(d, lane);
	if (r == 0)
		return control_lane_opened(d, client, lane);
	if (r > 0)
		return 0;
	lane_end(d, lane);
	return control_refuse_room(d, client, r, "the lane cannot be stored");
}

int control_lane_opened(struct daemon *d, struct client *client, struct lane *lane)
{
	struct ckv_lane_opened opened = {
		.lane_id = (uint32_t)(lane - d->lane), .shape = lane->shape,
		.serial = lane->serial,
		.c_offset = lane->part * lane->arena->part_bytes,
	};
	int fds[3], r = keep_note_lane(d, lane);

	if (r < 0) {
		lane_end(d, lane);
		return control_refuse_room(d, client, r, "no more lanes can be noted");
	}
	fds[0] = lane->arena->fd;
	fds[1] = memory_reader(lane->d.fd);
	fds[2] = lane->eventfd;
	r = fds[1] < 0 ? control_refuse_room(d, client, fds[1],
					 "the lane cannot be sent") :
	    control_send(d, client, &opened, sizeof opened, CKV_LANE_OPENED,
			 fds, 3);
	if (fds[1] < 0 || r < 0)
		lane_end(d, lane);
	sys_close(fds[1]);
	return r;
}

int control_done(struct daemon *d, struct client *client)
{
	struct ckv_control_id message = { .id = 0 };

	return control_send(d, client, &message, sizeof message, CKV_DONE,
			    NULL, 0);
}

/* RELOAD: allowed to those users that may also send SIGHUP to the daemon. */
int control_reload(struct daemon *d, struct client *client)
{
	struct ckv_control_id done = { .id = 0 };
	char text[RELOAD_TEXT_BYTES];
	uid_t own = sys_user_id();
	int r;

	if (client->uid != 0 && client->uid != own)
		return control_refuse(d, client, -EACCES, "uid %u may not have the "
				      "configuration read again, only root and uid "
				      "%u, which the daemon runs as", client->uid, own);
	r = reload(d, text);
	if (r < 0)
		return control_refuse(d, client, r, "%s", text);
	done.id = (uint32_t)r;
	return control_send(d, client, &done, sizeof done, CKV_DONE, NULL, 0);
}

/*
 * A lane of this client, or one that an earlier connection of the same process left
 * behind. All processes of other pid namespaces have pid 0, so pid 0 proves nothing.
 */
static struct lane *lane_of(struct daemon *d, const struct client *client,
			    uint64_t serial)
{
	const struct client *owner;
	struct lane *lane = NULL;

	for (uint32_t i = 0; lane == NULL && i < d->n_lane_rows; i++)
		if (d->lane[i].serial == serial && lane_is_there(&d->lane[i]))
			lane = &d->lane[i];
	if (lane == NULL)
		return NULL;
	owner = &d->client[lane->client];
	return owner == client || (owner->state == CLIENT_DETACHED &&
				   owner->pid == client->pid &&
				   client->pid != 0) ? lane : NULL;
}

/* A lane of an earlier daemon of which nothing is left is closed: DONE. */
int control_lane_close(struct daemon *d, struct client *client,
		       uint64_t serial)
{
	struct lane *lane = lane_of(d, client, serial);

	if (lane == NULL && serial < d->epoch)
		return control_done(d, client);
	if (lane == NULL)
		return control_refuse(d, client, -EINVAL, "no lane of yours has the "
				      "serial %llu", (unsigned long long)serial);
	lane_end(d, lane);
	lane_await(d, lane, client);
	return 0;
}

/* SLAB_WANT: send a slab again that the client received but had no room to map. */
int control_slab_want(struct daemon *d, struct client *client,
		      const struct ckv_slabs *want)
{
	struct attachment *attached;
	uint32_t slab = want->first_slab;

	if (want->space_id >= d->n_spaces ||
	    client->attached[want->space_id].access != CKV_ACCESS_WRITE ||
	    slab >= d->served[want->space_id].pool.shape.n_slabs) {
		(void)control_refuse(d, client, -EPROTO, "there is no slab %u "
				     "to write in space %u", slab,
				     want->space_id);
		return -EPROTO;
	}
	attached = &client->attached[want->space_id];
	if ((attached->slab_sent[slab / 64] >> (slab % 64) & 1) == 0)
		return 0;	/* it will be sent when a page in it is lent */
	attached->slab_sent[slab / 64] &= ~(1ull << (slab % 64));
	(void)control_send_slab(d, client, want->space_id, slab);
	return 0;
}

int control_detach(struct daemon *d, struct client *client, uint32_t space_id)
{
	bool all = space_id == CKV_NONE;
	uint32_t at = client->turn_lane, next;

	if (!all && (space_id >= d->n_spaces ||
		     client->attached[space_id].access == 0))
		return control_refuse(d, client, -EINVAL, "space %u is not "
				      "attached", space_id);
	for (uint32_t n = client->n_lanes - client->n_ending; n > 0; n--) {
		next = d->lane[at].next;
		if (all || d->lane[at].space == space_id) {
			lane_end(d, &d->lane[at]);
			lane_await(d, &d->lane[at], client);
		}
		at = next;
	}
	for (uint32_t i = 0; i < d->n_spaces; i++)
		if (all || i == space_id)
			client->attached[i].access = 0;
	stats_client(d, client, NULL);
	return client->n_awaited > 0 ? 0 : control_done(d, client);
}
