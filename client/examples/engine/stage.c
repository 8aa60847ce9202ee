/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.c - see stage.h. Needs no right that a plain user lacks.
 */
#include "client/examples/engine/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "client/examples/engine/config.h"

#define START_MS	30000	/* the daemon may take to listen */
#define POOL_MIB	192u

/* The folder of this program, unless the caller knows better. */
static int find_folder(struct stage *s, struct err *e)
{
	ssize_t n;

	if (s->bin[0] != '\0')
		return 0;
	n = readlink("/proc/self/exe", s->bin, sizeof(s->bin) - 1);
	if (n < 0)
		return err_set(e, -errno, "/proc/self/exe: %s",
			       strerror(errno));
	s->bin[n] = '\0';
	*strrchr(s->bin, '/') = '\0';
	return 0;
}

/* From the folder where it was built, or else from where it was installed. */
static void locate(const char *bin, const char *built, const char *installed,
		   char *to, size_t bytes)
{
	snprintf(to, bytes, "%.400s/%s", bin, built);
	if (access(to, F_OK) < 0)
		snprintf(to, bytes, "%.400s/%s", bin, installed);
}

static int find_programs(struct stage *s, struct err *e)
{
	int r = find_folder(s, e);

	if (r < 0)
		return r;
	locate(s->bin, "ckvd", "../../sbin/ckvd", s->ckvd, sizeof(s->ckvd));
	locate(s->bin, "ckv", "../../bin/ckv", s->ckv, sizeof(s->ckv));
	snprintf(s->engine, sizeof(s->engine), "%s/ckv-engine", s->bin);
	if (s->model[0] == '\0')
		locate(s->bin, "../tests/data/tiny-recall",
		       "../../share/ckv/tiny-recall", s->model,
		       sizeof(s->model));
	return 0;
}

/* Each question is a text and so is its answer. */
static bool can_be_asked(const json_t *story)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(story, "questions"), i, one)
		if (!json_is_string(json_object_get(one, "question")) ||
		    !json_is_string(json_object_get(one, "answer")))
			return false;
	return true;
}

static int load_story(const struct stage *s, const char *name, json_t **ret,
		      struct err *e)
{
	char path[600];
	json_error_t why;
	json_t *story;

	snprintf(path, sizeof(path), "%s/%s", s->model, name);
	story = json_load_file(path, 0, &why);
	if (stage_text(story) == NULL || !can_be_asked(story) ||
	    json_array_size(json_object_get(story, "questions")) < 4) {
		err_set(e, -EINVAL, "%s: %s", path, story == NULL ? why.text :
			"expected a document and 4 questions or more, each with "
			"its answer");
		json_decref(story);
		return -EINVAL;
	}
	*ret = story;
	return 0;
}

static int write_config(const struct stage *s, struct err *e)
{
	char path[600], model[64] = "tiny-recall";
	const char *name = strrchr(s->model, '/');
	struct config c;
	FILE *out;
	int r;

	snprintf(path, sizeof(path), "%s/config.json", s->model);
	r = config_load(path, &c, e);
	if (r < 0)
		return r;
	if (name != NULL && name[1] != '\0')
		snprintf(model, sizeof(model), "%s", name + 1);
	out = fopen(s->config, "we");
	if (out == NULL)
		return err_set(e, -errno, "%s: %s", s->config, strerror(errno));
	fprintf(out, "[daemon]\nsocket = %s\nlog_level = warning\n\n"
		"[space %s]\nmodel = %s\nlayers = %u\nkv_heads = %u\n"
		"head_dim = %u\nblock_tokens = 16\ndtype = f32\n"
		"pool = %uMiB\nviews = 65\n", s->socket, STAGE_SPACE, model,
		c.n_layers, c.n_kv_heads, c.head_dim,
		s->pool_mib != 0 ? s->pool_mib : POOL_MIB);
	return fclose(out) == 0 ? 0 : err_set(e, -EIO, "%s: cannot be written",
					      s->config);
}

pid_t stage_daemon(const struct stage *s)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct ucred peer = { .pid = 0 };
	socklen_t bytes = sizeof(peer);

	snprintf(to.sun_path, sizeof(to.sun_path), "%.107s", s->socket);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) < 0)
		peer.pid = 0;
	if (fd >= 0)
		close(fd);
	return peer.pid;
}

void stage_complain(const struct stage *s)
{
	char line[512];
	FILE *in = fopen(s->log, "re");

	while (in != NULL && fgets(line, sizeof(line), in) != NULL)
		fputs(line, stderr);
	if (in != NULL)
		fclose(in);
}

static int start_daemon(struct stage *s, struct err *e)
{
	struct timespec wait = { .tv_nsec = 10000000 };
	struct args a = { 0 };
	int r;

	args_add(&a, s->ckvd);
	args_add(&a, "--keeper");
	args_add(&a, "--config");
	args_add(&a, s->config);
	r = proc_start("ckvd", &a, s->errors, &s->keeper, e);
	for (int ms = 0; r == 0 && stage_daemon(s) == 0; ms += 10) {
		if (ms >= START_MS) {
			proc_end(&s->keeper, SIGTERM);
			r = err_set(e, -ETIMEDOUT, "ckvd does not listen");
			break;
		}
		nanosleep(&wait, NULL);
	}
	return r;
}

static int make_folder(struct stage *s, struct err *e)
{
	snprintf(s->dir, sizeof(s->dir), "/tmp/ckv-demo.XXXXXX");
	if (mkdtemp(s->dir) == NULL) {
		s->dir[0] = '\0';
		return err_set(e, -errno, "/tmp: %s", strerror(errno));
	}
	snprintf(s->socket, sizeof(s->socket), "%s/ckvd.sock", s->dir);
	snprintf(s->config, sizeof(s->config), "%s/ckvd.conf", s->dir);
	snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
	s->errors = open(s->log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC,
			 0600);
	if (s->errors < 0)
		return err_set(e, -errno, "%s: %s", s->log, strerror(errno));
	return 0;
}

static void remove_folder(struct stage *s)
{
	char lock[160];

	if (s->dir[0] == '\0')
		return;
	snprintf(lock, sizeof(lock), "%s.lock", s->socket);
	unlink(lock);
	unlink(s->socket);
	unlink(s->config);
	unlink(s->log);
	rmdir(s->dir);
	s->dir[0] = '\0';
	if (s->errors >= 0)
		close(s->errors);
}

static uint32_t n_questions(const struct stage *s)
{
	return (uint32_t)json_array_size(json_object_get(s->story, "questions"));
}

int stage_open(struct stage *s, struct err *e)
{
	struct err ignored;
	int r;

	s->errors = -1;
	s->keeper.out = -1;
	r = find_programs(s, e);
	if (r == 0)
		r = load_story(s, "story-1.json", &s->story, e);
	if (r == 0)
		r = load_story(s, "story-2.json", &s->second, e);
	if (r == 0 && s->n_questions > n_questions(s))
		s->n_questions = n_questions(s);
	if (r == 0)
		r = make_folder(s, e);
	if (r == 0)
		r = write_config(s, e);
	if (r == 0)
		r = start_daemon(s, e);
	if (r < 0) {
		stage_complain(s);
		stage_close(s, &ignored);
	}
	return r;
}

int stage_close(struct stage *s, struct err *e)
{
	int r = 0;

	if (s->keeper.pid > 0) {
		kill(s->keeper.pid, SIGTERM);
		r = proc_wait(&s->keeper, e);
	}
	remove_folder(s);
	json_decref(s->story);
	json_decref(s->second);
	s->story = s->second = NULL;
	return r;
}

const char *stage_text(const json_t *story)
{
	return json_string_value(json_object_get(story, "document"));
}

static const json_t *question(const struct stage *s, uint32_t i)
{
	return json_array_get(json_object_get(s->story, "questions"), i);
}

const char *stage_question(const struct stage *s, uint32_t i)
{
	return json_string_value(json_object_get(question(s, i), "question"));
}

bool stage_is_right(const struct stage *s, uint32_t i, const json_t *answer)
{
	const char *want = json_string_value(json_object_get(question(s, i),
							     "answer"));
	const char *got = json_string_value(json_object_get(answer, "answer"));
	size_t n = want != NULL ? strlen(want) : 0;

	return want != NULL && got != NULL && strncmp(want, got, n) == 0 &&
	       strcmp(got + n, " .") == 0;
}

void stage_engine(const struct stage *s, bool cached, struct args *ret)
{
	*ret = (struct args){ 0 };
	args_add(ret, s->engine);
	args_add(ret, "--json");
	args_add(ret, "--model");
	args_add(ret, s->model);
	args_add(ret, "--prompt");
	args_add(ret, stage_text(s->story));
	if (!cached)
		return;
	args_add(ret, "--socket");
	args_add(ret, s->socket);
	args_add(ret, "--space");
	args_add(ret, STAGE_SPACE);
}

static int ask_ckv(struct stage *s, const char *what, json_t **ret,
		   struct err *e)
{
	struct args a = { 0 };

	args_add(&a, s->ckv);
	args_add(&a, what);
	args_add(&a, "--json");
	args_add(&a, "--socket");
	args_add(&a, s->socket);
	return proc_ask("ckv", &a, s->errors, ret, e);
}

int stage_status(struct stage *s, json_t **ret, struct err *e)
{
	json_t *status = NULL, *clients = NULL;
	int r = ask_ckv(s, "status", &status, e);

	if (r == 0)
		r = ask_ckv(s, "clients", &clients, e);
	if (r == 0)
		*ret = json_pack("{s:O, s:O}", "status", status, "clients",
				 clients);
	json_decref(status);
	json_decref(clients);
	return r;
}
