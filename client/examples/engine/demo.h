/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.h - ckv-engine --demo: several engines, one cache, a daemon of their own.
 */
#ifndef ENGINE_DEMO_H
#define ENGINE_DEMO_H

#include <jansson.h>

/* The program: an exit code. */
int demo_main(int argc, char **argv);

/* Print what the demo found out, for people. */
void demo_report(const json_t *found);

#endif
