/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c - the table of commands, and finding one in it.
 */
#include "client/cli/cli.h"
#include "kernels/nearest.h"

#include <string.h>

const struct cli_command cli_commands[] = {
	{ "status", "", "a", 0, 0,
	  "how the daemon is doing, space by space",
	  "Shows the daemon, then for each space: how full its pool is, blocks and\n"
	  "views, evictions, pages lent, failed checksums, and where lookups found\n"
	  "their blocks. Hit ratios are what clients report about themselves.\n"
	  "\n"
	  "  ckv status\n"
	  "  ckv status --all              every counter, with its meaning\n"
	  "  ckv status --json | jq '.spaces[].stats.evicted'\n",
	  cmd_status },
	{ "top", "", "i1", 0, 0,
	  "rates per second, live",
	  "Redraws in place until 'q' is pressed. Prints one frame and ends with\n"
	  "--once, --json, or when stdout is not a terminal.\n"
	  "\n"
	  "  ckv top\n"
	  "  ckv top --interval 0.5\n"
	  "  ckv top --once --interval 5 > five-seconds.txt\n",
	  cmd_top },
	{ "spaces", "", "", 0, 0,
	  "the spaces and their geometry",
	  "One line per space: model, weights, geometry, layout, page size, pages, policy, memory.\n"
	  "\n"
	  "  ckv spaces\n"
	  "  ckv spaces --json | jq -r '.[].name'\n",
	  cmd_spaces },
	{ "clients", "", "", 0, 0,
	  "the processes that are attached, and what they hold",
	  "A 'detached' client closed its socket but lives, so its pins hold. A\n"
	  "'stopped' one (SIGSTOP, debugger) holds its pins until it goes on or is\n"
	  "ended with 'ckv kick'. Pins are counted once a second.\n"
	  "\n"
	  "  ckv clients\n"
	  "  ckv clients --json | jq '.[] | select(.state == \"stopped\") | .pid'\n",
	  cmd_clients },
	{ "blocks", "SPACE", "Ll", 1, 1,
	  "what a space's index holds",
	  "Reads the index itself; the daemon takes no part. A summary by level and by\n"
	  "depth in the chain, or with --list one line per block.\n"
	  "\n"
	  "  ckv blocks llama\n"
	  "  ckv blocks llama --list --limit 20\n"
	  "  ckv blocks llama --list --json | jq '.blocks[].tokens' | sort | uniq -c\n",
	  cmd_blocks },
	{ "views", "SPACE", "lx", 1, 1,
	  "the compressed views that a space holds",
	  "One line per view: its key, method, encoding, chain and its tokens; tokens\n"
	  "kept in the longest and in the shortest head and as a share of all; bytes,\n"
	  "as a share of what all tokens take as they are stored; pages. --json has\n"
	  "everything a view says about itself. --drop forgets one, if no client has it\n"
	  "pinned and you may write to the space.\n"
	  "\n"
	  "  ckv views llama\n"
	  "  ckv views llama --json | jq '.views[] | {method, bytes}'\n"
	  "  ckv views llama --drop 3f9a0c12\n",
	  cmd_views },
	{ "methods", "[METHOD]", "", 0, 1,
	  "the compression methods, with their parameters",
	  "Without an argument: every method, its parameters with their defaults, what it\n"
	  "needs from the engine, its paper. With a name: that one, explained. Any other\n"
	  "argument is judged as a method's text: it is printed with every parameter, or\n"
	  "what is wrong is said. Needs no daemon.\n"
	  "\n"
	  "  ckv methods\n"
	  "  ckv methods pyramidkv\n"
	  "  ckv methods 'chunkkv(keep=1/4) + kivi(bits=4)'\n"
	  "  ckv methods --json | jq -r '.[] | select(.needs == \"nothing\") | .name'\n",
	  cmd_methods },
	{ "kick", "PID", "", 1, 1,
	  "end a client with SIGKILL and see its claims go",
	  "Only a process that is a client of this daemon is ended, and with your own\n"
	  "authority: its owner or root may. Waits until the daemon has taken back\n"
	  "what it held, and says what that was.\n"
	  "\n"
	  "  ckv kick 4711\n",
	  cmd_kick },
	{ "doctor", "", "cd", 0, 0,
	  "what this machine lacks, what that costs, and what to do",
	  "Tries things out instead of guessing, and changes nothing. Needs no daemon.\n"
	  "Exit code 1 if something fails that ckv cannot do without.\n"
	  "\n"
	  "  ckv doctor\n"
	  "  ckv doctor --config my.conf      do its pools fit into this machine?\n"
	  "  ckv doctor --json | jq '.[] | select(.level != \"ok\")'\n",
	  cmd_doctor },
	{ "bench", "SPACE", "nf", 1, 1,
	  "a quick check of the running daemon's speed",
	  "Times a request round trip, lookup with pin and unpin, and reserve with\n"
	  "publish, through a lane of its own. Its blocks have random keys and are\n"
	  "dropped at the end. Without --force it does not run when they would\n"
	  "evict other blocks. A 99th percentile needs 1000 samples.\n"
	  "\n"
	  "  ckv bench llama\n"
	  "  ckv bench llama --count 100000 --json\n",
	  cmd_bench },
	{ "replay", "TRACE [...]", "*d", 0, -1,
	  "how often a trace would hit, by policy and size",
	  "Runs 'ckvd --replay TRACE ...', the daemon's own core fed from a file,\n"
	  "and passes every other argument on. ckvd is looked for beside ckv, in\n"
	  "../sbin and in $PATH.\n"
	  "\n"
	  "  ckv replay conversation.jsonl\n"
	  "  ckv replay conversation.jsonl --json\n",
	  cmd_replay },
	{ "version", "", "", 0, 0,
	  "the version of this command",
	  "Names the program, the protocol and the memory layout it was built for.\n"
	  "\n"
	  "  ckv version\n",
	  cmd_version },
	{ "help", "[COMMAND]", "", 0, 1,
	  "this list, or one command explained",
	  "The same as 'ckv COMMAND --help'.\n"
	  "\n"
	  "  ckv help blocks\n",
	  cmd_help },
	{ .name = NULL },
};

const struct cli_command *cli_find(const char *name)
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

void cli_no_command(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (const struct cli_command *c = cli_commands; c->name; c++) {
		unsigned d = ckv_name_distance(name, c->name);

		if (d < best) {
			best = d;
			nearest = c->name;
		}
	}
	if (nearest != NULL)
		cli_fail("there is no command '%s'. Did you mean 'ckv %s'?", name,
			 nearest);
	else
		cli_fail("there is no command '%s'. 'ckv help' lists them.", name);
}
