/* SPDX-License-Identifier: Apache-2.0 */
/*
 * views_drop.c - `ckv views SPACE --drop KEY`: forget one view.
 *
 * The key may be shortened as far as it names one view. It is looked for in the index
 * like everything that is listed; the daemon is then asked as any client would ask.
 */
#include "client/ckv.h"
#include "client/cli/scan.h"
#include "client/cli/text.h"
#include "client/cli/views.h"

#include <errno.h>
#include <string.h>

enum { DIGITS_MIN = 8, DIGITS_MAX = 2 * CKV_KEY_BYTES };

bool views_key_ok(const char *text)
{
	size_t n = strspn(text, "0123456789abcdefABCDEF");

	return text[n] == 0 && n >= DIGITS_MIN && n <= DIGITS_MAX;
}

/* How many views have keys that begin so; the last of them. */
static uint32_t find(const struct observed_space *space, const char *digits,
		     struct ckv_key *ret_key)
{
	uint32_t n_slots = space->index.n_buckets * CKV_BUCKET_ENTRIES, n = 0;

	for (uint32_t slot = 0; slot < n_slots; slot++) {
		char key[DIGITS_MAX + 1];
		struct ckv_block block;

		if (!scan_slot(&space->index, slot, &block) ||
		    !(block.flags & CKV_ENTRY_VIEW))
			continue;
		text_hex(key, block.key.byte, CKV_KEY_BYTES);
		if (strncasecmp(key, digits, strlen(digits)) != 0)
			continue;
		*ret_key = block.key;
		n++;
	}
	return n;
}

/* 0, or what the library or the daemon says. */
static int forget(const struct cli *cli, struct ckv *ckv,
		  const struct ckv_key *key)
{
	struct ckv_space *space;
	struct ckv_lane *lane;
	int32_t status;
	long r;

	r = ckv_attach(ckv, cli->args[0], NULL, CKV_WRITE, &space);
	if (r == 0)
		r = ckv_lane_open(space, NULL, &lane);
	if (r == 0)
		r = ckv_drop(lane, key->byte, 1, &status);
	return r < 0 ? (int)r : status;
}

int views_drop(const struct cli *cli, const struct observed_space *observed)
{
	char text[DIGITS_MAX + 1], error[TEXT_ERROR];
	struct ckv_key key;
	uint32_t n = find(observed, cli->drop, &key);
	struct ckv *ckv;
	int r;

	if (n == 0)
		return cli_fail("space %s has no view whose key begins with %s. "
				"'ckv views %s' lists them.", cli->args[0],
				cli->drop, cli->args[0]);
	if (n > 1)
		return cli_fail("the keys of %u views of space %s begin with %s; "
				"give more digits ('ckv views %s --json' has all "
				"of them)", n, cli->args[0], cli->drop,
				cli->args[0]);
	text_hex(text, key.byte, CKV_KEY_BYTES);
	r = ckv_open(cli->socket, "ckv views", &ckv);
	if (r < 0)
		return cli_fail("%s", ckv_why(NULL));
	r = forget(cli, ckv, &key);
	if (r == -EBUSY)
		cli_fail("view %s is in use: a client has it pinned. 'ckv clients' "
			 "shows who holds pins.", text);
	else if (r == -ENOENT)
		cli_fail("view %s is gone already", text);
	else if (r < 0)
		cli_fail("view %s was not dropped: %s", text,
			 text_error(error, ckv, r));
	ckv_close(ckv);
	if (r < 0)
		return CLI_FAILED;
	if (cli->json)
		return text_json(json_pack("{s:s, s:s}", "space", cli->args[0],
					   "dropped", text));
	printf("view %s is dropped\n", text);
	return CLI_OK;
}
