/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.h - ckv-engine --demo: several engines, one cache, a daemon of their own.
 */
#ifndef ENGINE_DEMO_H
#define ENGINE_DEMO_H

#include <stdbool.h>

#include <jansson.h>

#include "client/examples/engine/stage.h"

/* The program: an exit code. */
int demo_main(int argc, char **argv);

/* The step that kills the daemon; and whether the next one has what it had. */
int demo_restart(struct stage *s, json_t *found, struct err *e);
bool demo_restart_well(const json_t *found);

/* The step with two engines and one new document; and whether it went as it should. */
int demo_join(struct stage *s, json_t *found, struct err *e);
bool demo_join_well(const json_t *found);

/*
 * Two engines read a document that nobody has read, at the same moment, and wait `join`
 * seconds at most for each other; number_of > 0 says which document. *ret_both is the
 * caller's: tokens of the document; tokens computed, tokens waited for and CPU seconds of
 * both; whether their logits are the same.
 */
int demo_run_two(struct stage *s, int number_of, const char *join,
		 json_t **ret_both, struct err *e);

/* Whether what follows is printed, for people; at first it is not. */
void demo_tell(bool on);

/* Something takes long: the line that was begun shows it. */
void demo_wait(void);

/*
 * The page of text, in its order. Those that take nothing, or say who does what,
 * begin a line before the work; the next one ends it.
 */
void demo_tell_begin(const json_t *machine, long long n_tokens);
void demo_tell_who(const char *who, const char *what);
void demo_tell_step(const json_t *steps, const json_t *step);
void demo_tell_killing(void);
void demo_tell_death(const json_t *death);
void demo_tell_restarting(void);
void demo_tell_restart(const json_t *restart);
void demo_tell_compare(void);
void demo_tell_bits(const json_t *same);
void demo_tell_joining(void);
void demo_tell_two(const char *how);
void demo_tell_used(const json_t *both, const json_t *most);
void demo_tell_joined(const json_t *both);
void demo_tell_views(long long n_questions);
void demo_tell_making(const char *what);
void demo_tell_table(const json_t *found);
void demo_tell_view(const char *keep, const json_t *made);
void demo_tell_right(long long right, long long n_questions);
void demo_tell_view_end(const json_t *found, const json_t *made);
void demo_tell_end(const json_t *found);

/* End a line that was begun, so that an error message has its own. */
void demo_tell_failure(void);

#endif
