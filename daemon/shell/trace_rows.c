/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace_rows.c - see trace_rows.h.
 *
 * A file has one JSON object per line. These members are understood:
 *
 *   hash_ids       a list of ids: whole numbers of any size, or texts
 *   timestamp      rows are replayed in the order of timestamps. A row without one
 *                  happens `delay` after the row before it in its session or, without
 *                  `delay` too, together with the row before it in the file
 *   session_id     rows of one session are turns of one conversation. A turn that does
 *                  not begin with the session's first block lists only new blocks: its
 *                  prompt is the prompt of the turn before, followed by these blocks
 *   requests, turns  in a row without hash_ids: a list of rows, which are one session
 *
 * A row without hash_ids and without such a list is left out and counted.
 */
#include "daemon/shell/trace_rows.h"
#include "daemon/shell/log.h"
#include "daemon/shell/sys.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NEST_MAX	8	/* depth of lists of rows inside rows */
#define BIG_DIGITS	19u	/* a number of so many digits may not fit json_int_t */

struct session {
	uint64_t name;		/* hash of the session_id */
	uint32_t row;		/* its last row so far */
	bool	 used;
};

struct reader {
	struct trace_rows rows;
	size_t n_rows_max, n_ids_max;
	struct session *session;
	size_t n_sessions, n_sessions_max; /* a power of two */
	uint32_t line_no, n_nested;
	char *text;
	size_t text_bytes;
};

static int wrong(struct reader *r, const char *why)
{
	snprintf(r->text, r->text_bytes, "line %u: %s", r->line_no, why);
	return -EBADMSG;
}

/* Make room for `more` elements after the first n. */
static int grow(void **array, size_t n, size_t more, size_t bytes, size_t *n_max)
{
	size_t want = *n_max ? *n_max : 1024;
	void *larger;

	if (n + more <= *n_max)
		return 0;
	while (want < n + more)
		want *= 2;
	larger = realloc(*array, want * bytes);
	if (larger == NULL)
		return -ENOMEM;
	*array = larger;
	*n_max = want;
	return 0;
}

static int ids_room(struct reader *r, size_t more)
{
	void *array = r->rows.ids;
	int ret = grow(&array, r->rows.n_ids, more, sizeof *r->rows.ids,
		       &r->n_ids_max);

	r->rows.ids = array;
	return ret;
}

/* ---- sessions ---- */

static struct session *session_place(struct reader *r, uint64_t name)
{
	for (size_t i = (size_t)name;; i++) {
		struct session *s = &r->session[i & (r->n_sessions_max - 1)];

		if (!s->used || s->name == name)
			return s;
	}
}

static int sessions_grow(struct reader *r)
{
	size_t n_old = r->n_sessions_max, n = n_old ? 2 * n_old : 256;
	struct session *old = r->session, *larger;

	larger = realloc(NULL, n * sizeof *larger);
	if (larger == NULL)
		return -ENOMEM;
	memset(larger, 0, n * sizeof *larger);
	r->session = larger;
	r->n_sessions_max = n;
	for (size_t i = 0; i < n_old; i++)
		if (old[i].used)
			*session_place(r, old[i].name) = old[i];
	free(old);
	return 0;
}

/*
 * The hash of an id or a session's name, which stands for it. In a file of 10^9
 * different ids two share a hash with a probability of about 1/40. The text "1" and the
 * number 1 have different hashes.
 */
static uint64_t hash_scalar(const json_t *value)
{
	json_int_t n = json_integer_value(value);

	if (json_is_string(value))
		return XXH3_64bits_withSeed(json_string_value(value),
					    json_string_length(value), 1);
	return XXH3_64bits_withSeed(&n, sizeof n, 2);
}

/* ---- rows ---- */

/* Does the row, the turn after `last`, list only its new blocks? */
static bool goes_on(const struct reader *r, const struct trace_row *last,
		    const uint64_t *ids, size_t n)
{
	return last != NULL && last->n_ids > 0 &&
	       (n == 0 || r->rows.ids[last->first_id] != ids[0]);
}

/* The row's time; `last` is the row before it in its session, or NULL. */
static double row_time(const struct reader *r, const json_t *object,
		       const struct trace_row *last)
{
	const json_t *timestamp = json_object_get(object, "timestamp");
	const json_t *delay = json_object_get(object, "delay");

	if (json_is_number(timestamp))
		return json_number_value(timestamp);
	if (json_is_number(delay) && last != NULL)
		return last->time + json_number_value(delay);
	return r->rows.n_rows > 0 ? r->rows.row[r->rows.n_rows - 1].time : 0;
}

/* Write the list's ids after rows.ids[n_ids]; add_row() raises n_ids when it is done. */
static int put_ids(struct reader *r, const json_t *list)
{
	size_t at = r->rows.n_ids, i;
	json_t *id;

	if (ids_room(r, json_array_size(list)) < 0)
		return -ENOMEM;
	json_array_foreach(list, i, id) {
		if (!json_is_integer(id) && !json_is_string(id))
			return wrong(r, "\"hash_ids\" must be a list of whole "
				     "numbers or texts");
		r->rows.ids[at++] = hash_scalar(id);
	}
	return 0;
}

static int add_row(struct reader *r, const json_t *object, const json_t *list,
		   struct session *session)
{
	struct trace_rows *rows = &r->rows;
	size_t n = json_array_size(list), n_before = 0;
	const struct trace_row *last = session != NULL && session->used ?
				       &rows->row[session->row] : NULL;
	struct trace_row row = { .time = row_time(r, object, last),
				 .order = rows->n_rows };
	int ret = put_ids(r, list);

	if (ret < 0)
		return ret;
	if (goes_on(r, last, rows->ids + rows->n_ids, n))
		n_before = last->n_ids;
	if (n_before + n > UINT32_MAX - rows->n_rows)
		return -ENOMEM;
	if (ids_room(r, n_before + n) < 0)
		return -ENOMEM;
	if (n_before > 0) {
		memmove(rows->ids + rows->n_ids + n_before,
			rows->ids + rows->n_ids, n * sizeof *rows->ids);
		memcpy(rows->ids + rows->n_ids, rows->ids + last->first_id,
		       n_before * sizeof *rows->ids);
		rows->n_continued++;
	}
	row.first_id = rows->n_ids;
	row.n_ids = (uint32_t)(n_before + n);
	rows->n_ids += row.n_ids;
	if (rows->n_rows > 0 && row.time < rows->row[rows->n_rows - 1].time)
		rows->sorted = true;
	rows->row[rows->n_rows] = row;
	if (session != NULL) {
		r->n_sessions += !session->used;
		session->used = true;
		session->row = rows->n_rows;
	}
	rows->n_rows++;
	return 0;
}

/* The session that the row names, else that of the list which the row is in, else NULL. */
static int find_session(struct reader *r, const json_t *object,
			uint64_t list_name, struct session **ret_session)
{
	const json_t *id = json_object_get(object, "session_id");
	bool named = json_is_string(id) || json_is_integer(id);
	uint64_t name = named ? hash_scalar(id) : list_name;

	*ret_session = NULL;
	if (name == 0)
		return 0;
	if (2 * r->n_sessions >= r->n_sessions_max && sessions_grow(r) < 0)
		return -ENOMEM;
	*ret_session = session_place(r, name);
	(*ret_session)->name = name;
	return 0;
}

static const json_t *nested(const json_t *object)
{
	const json_t *list = json_object_get(object, "requests");

	return json_is_array(list) ? list : json_object_get(object, "turns");
}

/* Read a row, or the rows in it. `list_name`: session of the list it is in; 0: no list. */
static int read_object(struct reader *r, const json_t *object,
		       uint64_t list_name, int depth)
{
	const json_t *ids = json_object_get(object, "hash_ids");
	const json_t *list = nested(object);
	struct session *session;
	void *rows = r->rows.row;
	int ret;
	size_t i;
	json_t *inner;

	if (!json_is_object(object))
		return wrong(r, "a row must be an object");
	if (json_is_array(ids)) {
		ret = grow(&rows, r->rows.n_rows, 1, sizeof *r->rows.row,
			   &r->n_rows_max);
		r->rows.row = rows;
		if (ret == 0)
			ret = find_session(r, object, list_name, &session);
		return ret < 0 ? ret : add_row(r, object, ids, session);
	}
	if (ids != NULL && !json_is_null(ids))
		return wrong(r, "\"hash_ids\" must be a list of whole numbers "
			     "or texts");
	if (!json_is_array(list)) {
		if (r->rows.n_without++ == 0)
			r->rows.first_without = r->line_no;
		return 0;
	}
	if (depth == NEST_MAX)
		return wrong(r, "rows are nested too deeply");
	list_name = XXH3_64bits_withSeed(&r->n_nested, sizeof r->n_nested, 3);
	r->n_nested++;
	json_array_foreach(list, i, inner) {
		ret = read_object(r, inner, list_name, depth + 1);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/*
 * Copy the line, with quotes around whole numbers of many digits, since jansson refuses
 * those that do not fit 64 bits. `out` has room for twice the line. Returns the bytes
 * written.
 */
static size_t quote_numbers(const char *line, size_t bytes, char *out)
{
	bool inside = false;
	size_t n = 0, i = 0;

	while (i < bytes) {
		size_t digits = inside ? 0 : strspn(line + i, "0123456789");
		bool whole = digits < bytes - i &&
			     strchr(".eE", line[i + digits]) == NULL;
		bool part = i > 0 && strchr(".eE+", line[i - 1]) != NULL;

		if (digits >= BIG_DIGITS && whole && !part) {
			/* A minus sign before the number goes inside the quotes. */
			if (n > 0 && out[n - 1] == '-')
				memcpy(out + n - 1, "\"-", 2), n++;
			else
				out[n++] = '"';
			memcpy(out + n, line + i, digits);
			n += digits;
			out[n++] = '"';
			i += digits;
			continue;
		}
		if (digits > 0) {
			memcpy(out + n, line + i, digits);
			n += digits;
			i += digits;
			continue;
		}
		if (inside && line[i] == '\\' && i + 1 < bytes)
			out[n++] = line[i++];
		else if (line[i] == '"')
			inside = !inside;
		out[n++] = line[i++];
	}
	return n;
}

static int read_line(struct reader *r, const char *line, size_t bytes)
{
	char *quoted = realloc(NULL, 2 * bytes + 2);
	json_error_t error;
	json_t *object;
	int ret;

	if (quoted == NULL)
		return -ENOMEM;
	bytes = quote_numbers(line, bytes, quoted);
	object = json_loadb(quoted, bytes, 0, &error);
	free(quoted);
	if (object == NULL)
		return wrong(r, error.text);
	ret = read_object(r, object, 0, 0);
	json_decref(object);
	return ret;
}

static int by_time(const void *a, const void *b)
{
	const struct trace_row *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

int trace_rows_read(FILE *file, struct trace_rows *ret_rows, char *text,
		    size_t text_bytes)
{
	struct reader r = { .text = text, .text_bytes = text_bytes };
	uint64_t began_ns = sys_now_ns();
	size_t line_max = 0;
	char *line = NULL;
	ssize_t bytes;
	int ret = 0;

	while (ret == 0 && (bytes = getline(&line, &line_max, file)) > 0) {
		r.line_no++;
		if (r.line_no % 1024 == 0)
			(void)log_progress(sys_now_ns() - began_ns,
					   "reading line %u", r.line_no);
		if (strspn(line, " \t\r\n") < (size_t)bytes)
			ret = read_line(&r, line, (size_t)bytes);
	}
	log_progress_end();
	if (ret == 0 && ferror(file))
		ret = -EIO;
	free(line);
	free(r.session);
	if (ret < 0) {
		trace_rows_free(&r.rows);
		return ret;
	}
	if (r.rows.sorted)
		qsort(r.rows.row, r.rows.n_rows, sizeof *r.rows.row, by_time);
	*ret_rows = r.rows;
	return 0;
}

void trace_rows_free(struct trace_rows *rows)
{
	free(rows->row);
	free(rows->ids);
	*rows = (struct trace_rows){ 0 };
}
