/* SPDX-License-Identifier: Apache-2.0 */
/* figures.c - see figures.h. */
#include "figures.h"

#include <stdio.h>

bool bench_met(const struct bench_result *r)
{
	return r->share >= r->target_share &&
	       (r->target_us == 0.0 || r->times.us <= r->target_us);
}

json_t *figures_json(const struct bench_result *r)
{
	json_t *o;

	if (r->emulated)
		return json_pack("{s:b, s:i}", "emulated", 1, "runs", r->times.n);
	o = json_pack("{s:I, s:f, s:f, s:f, s:i, s:f, s:f, s:f, s:f}",
		      "bytes", (json_int_t)r->bytes, "us", r->times.us,
		      "us_min", r->times.us_min, "us_max", r->times.us_max,
		      "runs", r->times.n, "empty_us", r->times.empty_us,
		      "gb_s", r->gb_s, "copy_gb_s", r->copy_gb_s,
		      "share_of_copy", r->share);
	if (r->target_share > 0)
		json_object_set_new(o, "target_share", json_real(r->target_share));
	if (r->target_us > 0)
		json_object_set_new(o, "target_us", json_real(r->target_us));
	if (r->target_share > 0 || r->target_us > 0)
		json_object_set_new(o, "met", json_boolean(bench_met(r)));
	return o;
}

void figures_print(const struct bench_result *r, FILE *out)
{
	if (r->emulated) {
		fprintf(out, "  %-22s ran %d times on an emulated device, of which nothing is "
			"measured\n", r->name, r->times.n);
		return;
	}
	fprintf(out, "  %-22s %9.1f us (%.1f to %.1f)  %7.0f GB/s  %5.1f %% of copy%s\n",
		r->name, r->times.us, r->times.us_min, r->times.us_max, r->gb_s,
		100 * r->share, r->target_share == 0 && r->target_us == 0 ? "" :
		bench_met(r) ? "  target met" : "  target MISSED");
}
