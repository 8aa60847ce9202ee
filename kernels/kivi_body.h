/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kivi_body.h - kivi in vectors; included by encode_body.h only.
 *
 * Of keys each lane has a group of its own, a channel. Of values all lanes share a
 * group: each finds the smallest and the largest number that it has seen, and these are
 * compared across the lanes when all of the group was read. Smallest and largest are
 * sought among the stored bits, as integers that sort like the numbers: a number of 16
 * bits then takes half a lane, and a NaN or an infinity always comes out as one of them.
 */

struct kivi_scale {		/* of the groups in PAIR lanes */
	struct pair scale, min;
};

/* ------------------------------------------------------------ one number */

INLINE float top_of(uint32_t bits)
{
	return (float)((1u << bits) - 1u);
}

INLINE vf kivi_scale(vf min, vf max, float top, enum ckv_elem elem)
{
	vf range = round_lanes(max - min, elem);

	return round_lanes(range / splat(top), elem);
}

INLINE vf kivi_value(vf code, vf scale, vf min, enum ckv_elem elem)
{
	if (elem == CKV_ELEM_F16)
		return f16_round(f16_round(code * scale) + min);
	return code * scale + min;
}

INLINE vu kivi_is_bad(vf scale, vf min, float top, enum ckv_elem elem)
{
	vf x = round_lanes(kivi_value(splat(top), scale, min, elem), elem);

	return (vu)((vi)((vu)x & 0x7fffffff) >= 0x7f800000);
}

/*
 * Scales of PAIR groups from the smallest and the largest number of each, as the integers
 * of raw_key(). -1: not all groups can be encoded.
 */
INLINE int kivi_scales(struct raw low, struct raw high, float top,
		       enum ckv_elem elem, struct kivi_scale *s)
{
	struct pair max = raw_pair(raw_key(high, elem), elem);

	s->min = raw_pair(raw_key(low, elem), elem);
	s->scale.a = kivi_scale(s->min.a, max.a, top, elem);
	s->scale.b = kivi_scale(s->min.b, max.b, top, elem);
	if (any_lane(kivi_is_bad(s->scale.a, s->min.a, top, elem) |
		     kivi_is_bad(s->scale.b, s->min.b, top, elem)))
		return -1;
	return 0;
}

/* Codes of PAIR numbers; where the scale is 0 they are anything. */
INLINE struct words kivi_codes(struct pair x, const struct kivi_scale *s,
			       float top, enum ckv_elem elem)
{
	x.a = round_lanes(x.a - s->min.a, elem) / s->scale.a;
	x.b = round_lanes(x.b - s->min.b, elem) / s->scale.b;
	return (struct words){
		whole(min_f32(round_lanes(x.a, elem), splat(top))),
		whole(min_f32(round_lanes(x.b, elem), splat(top))) };
}

INLINE struct words kivi_unless_zero(struct words w, const struct kivi_scale *s)
{
	w.a &= (vu)(s->scale.a != splat(0.0f));
	w.b &= (vu)(s->scale.b != splat(0.0f));
	return w;
}

/* ------------------------------------------------------------------ keys */

/*
 * One word of codes for each of PAIR channels, from n rows, at most 32 / bits. A group is
 * gone through channel by channel, so the processor does not foresee that the next one
 * is wanted: the same rows of it are asked for here.
 */
INLINE struct words kivi_key_words(const char *x, size_t row_bytes, uint32_t n,
				   size_t next, const struct kivi_scale *s,
				   uint32_t bits, enum ckv_elem elem)
{
	struct words w = { { 0 }, { 0 } };

	for (uint32_t k = 0; k < n; k++, x += row_bytes) {
		struct words c = kivi_codes(load_pair(x, 0, elem), s,
					    top_of(bits), elem);

		__builtin_prefetch((const void *)((uintptr_t)x + next), 0, 2);
		w.a |= c.a << k * bits;
		w.b |= c.b << k * bits;
	}
	return words_in(kivi_unless_zero(w, s), elem, CKV_ELEM_F32);
}

/* One group in PAIR channels from x on. */
INLINE int kivi_key_pair(const struct kivi_form *f, const char *x, size_t n,
			 uint32_t *code, char *scale, char *min, uint32_t bits,
			 enum ckv_elem elem)
{
	size_t row_bytes = f->dim * bytes_of(elem), next = f->group * row_bytes;
	struct raw low = raw_key(raw_load(x, 0, elem), elem), high = low;
	struct kivi_scale s;

	for (size_t i = 1; i < n; i++) {
		struct raw key = raw_key(raw_load(x + i * row_bytes, 0, elem),
					 elem);

		low = raw_min(low, key, elem);
		high = raw_max(high, key, elem);
	}
	if (kivi_scales(low, high, top_of(bits), elem, &s) < 0)
		return -1;
	store_pair(scale, 0, elem, s.scale);
	store_pair(min, 0, elem, s.min);
	for (size_t i = 0; i < n; i += 32 / bits, code += f->dim) {
		struct words w;

		if (n - i >= 32 / bits)
			w = kivi_key_words(x + i * row_bytes, row_bytes,
					   32 / bits, next, &s, bits, elem);
		else
			w = kivi_key_words(x + i * row_bytes, row_bytes,
					   (uint32_t)(n - i), next, &s, bits,
					   elem);
		*(vu_loose *)code = w.a;
		*(vu_loose *)(code + LANES) = w.b;
	}
	return 0;
}

INLINE int kivi_encode_keys_as(const struct kivi_form *f, const char *rows,
			       size_t n, uint32_t *code, char *scale, char *min,
			       uint32_t bits, enum ckv_elem elem)
{
	uint32_t d = 0;
	int r = 0;

	for (; r == 0 && d + PAIR <= f->dim; d += PAIR) {
		size_t at = d * bytes_of(elem);

		r = kivi_key_pair(f, rows + at, n, code + d, scale + at,
				  min + at, bits, elem);
	}
	for (; r == 0 && d < f->dim; d++) {
		size_t at = d * bytes_of(elem);
		const struct kivi_run g = { f, rows + at, f->dim, n };

		r = plain_kivi_encode(&g, code + d, scale + at, min + at);
	}
	return r;
}

/* ---------------------------------------------------------------- values */

/* Codes of PAIR channels, so many bits each, lowest first. */
INLINE void kivi_pack(struct words w, uint32_t bits, void *to)
{
	vu two = w.a | w.b << bits;

	if (bits == 8)
		store_32_16(to, two);
	else if (bits == 4)
		store_32_8(to, two);
	else
		store_64_8(to, ((vl)two | (vl)two >> 28) & 0xff);
}

INLINE struct words kivi_unpack(const void *from, uint32_t bits)
{
	uint32_t top = (1u << bits) - 1u;
	vl four;
	vu two;

	if (bits == 8) {
		two = load_32_16(from);
	} else if (bits == 4) {
		two = load_32_8(from);
	} else {
		four = load_64_8(from);
		two = (vu)(four | four >> 4 << 32);
	}
	return (struct words){ two & top, two >> bits & top };
}

struct kivi_walk {		/* over groups of values, one after another */
	const struct kivi_form *f;
	const char *x;
	char *code, *scale, *min;
	uint32_t d, n;		/* the group's first channel, its channels */
};

INLINE void kivi_step(struct kivi_walk *g, uint32_t bits, enum ckv_elem elem)
{
	g->x += g->n * bytes_of(elem);
	g->code += g->n * bits / 8;
	g->scale += bytes_of(elem);
	g->min += bytes_of(elem);
	g->d = g->d + g->n == g->f->dim ? 0 : g->d + g->n;
	g->n = kivi_group_at(g->f, g->d);
}

/* A group's smallest and largest number, as integers, put at place i of PAIR groups. */
INLINE void kivi_ends(const struct kivi_walk *g, size_t i, void *low_keys,
		      void *high_keys, enum ckv_elem elem)
{
	struct raw low = raw_key(raw_load(g->x, 0, elem), elem), high = low;
	int32_t least, most;

	for (uint32_t at = PAIR; at < g->n; at += PAIR) {
		struct raw key = raw_key(raw_load(g->x, at, elem), elem);

		low = raw_min(low, key, elem);
		high = raw_max(high, key, elem);
	}
	least = raw_least(low, elem);
	most = raw_most(high, elem);
	memcpy((char *)low_keys + i * bytes_of(elem), &least, bytes_of(elem));
	memcpy((char *)high_keys + i * bytes_of(elem), &most, bytes_of(elem));
}

INLINE void kivi_group_codes(const struct kivi_walk *g, float scale, float min,
			     uint32_t bits, enum ckv_elem elem)
{
	const struct kivi_scale s = { { splat(scale), splat(scale) },
				      { splat(min), splat(min) } };
	char *to = g->code;

	for (uint32_t i = 0; i < g->n; i += PAIR, to += PAIR * bits / 8) {
		struct words w = kivi_codes(load_pair(g->x, i, elem), &s,
					    top_of(bits), elem);

		w = kivi_unless_zero(w, &s);
		kivi_pack(words_in(w, elem, CKV_ELEM_BF16), bits, to);
	}
}

/* Up to PAIR groups, their scales at once. */
INLINE int kivi_value_groups(struct kivi_walk g, size_t n_groups, uint32_t bits,
			     enum ckv_elem elem)
{
	char low[PAIR * 4] = { 0 }, high[PAIR * 4] = { 0 }, stored[PAIR * 4];
	float scale[PAIR], min[PAIR];
	struct kivi_walk at = g;
	struct kivi_scale s;

	for (size_t i = 0; i < n_groups; i++, kivi_step(&at, bits, elem))
		kivi_ends(&at, i, low, high, elem);
	if (kivi_scales(raw_load(low, 0, elem), raw_load(high, 0, elem),
			top_of(bits), elem, &s) < 0)
		return -1;
	store_pair(stored, 0, elem, s.scale);
	memcpy(g.scale, stored, n_groups * bytes_of(elem));
	store_pair(stored, 0, elem, s.min);
	memcpy(g.min, stored, n_groups * bytes_of(elem));
	store_pair(scale, 0, CKV_ELEM_F32,
		   pair_in(s.scale, elem, CKV_ELEM_F32));
	store_pair(min, 0, CKV_ELEM_F32, pair_in(s.min, elem, CKV_ELEM_F32));
	for (size_t i = 0; i < n_groups; i++, kivi_step(&g, bits, elem))
		kivi_group_codes(&g, scale[i], min[i], bits, elem);
	return 0;
}

INLINE int kivi_encode_values_as(const struct kivi_form *f, const void *rows,
				 size_t n, uint32_t *code, void *scale,
				 void *min, uint32_t bits, enum ckv_elem elem)
{
	struct kivi_walk g = { f, rows, (char *)code, scale, min, 0,
			       kivi_group_at(f, 0) };
	size_t n_groups = n * ((f->dim + f->group - 1) / f->group), n_now;

	if (f->dim % PAIR != 0 || f->group % PAIR != 0 ||
	    f->dim % (32 / bits) != 0)
		return plain_kivi_encode_values(f, rows, n, code, scale, min);
	for (; n_groups > 0; n_groups -= n_now) {
		n_now = n_groups < PAIR ? n_groups : PAIR;
		if (kivi_value_groups(g, n_now, bits, elem) < 0)
			return -1;
		for (size_t i = 0; i < n_now; i++)
			kivi_step(&g, bits, elem);
	}
	return 0;
}

/* ---------------------------------------------------------------- decode */

INLINE void kivi_store(void *out, size_t i, struct words w,
		       const struct kivi_scale *s, enum ckv_elem elem,
		       enum ckv_elem out_elem)
{
	struct pair x = {
		kivi_value(__builtin_convertvector((vi)w.a, vf), s->scale.a,
			   s->min.a, elem),
		kivi_value(__builtin_convertvector((vi)w.b, vf), s->scale.b,
			   s->min.b, elem) };

	store_pair(out, i, out_elem, x);
}

/*
 * Rows [from, to) of a group, whose codes share a word, in as many channels as make whole
 * PAIRs.
 */
INLINE void kivi_decode_key_word(const struct kivi_form *f,
				 const struct kivi_code *c, uint32_t from,
				 uint32_t to, char *out, enum ckv_elem elem,
				 enum ckv_elem out_elem)
{
	size_t row_bytes = f->dim * bytes_of(out_elem);
	uint32_t top = (1u << f->bits) - 1u;

	for (uint32_t d = 0; d + PAIR <= f->dim; d += PAIR) {
		struct words w = { *(const vu_loose *)(c->word + d),
				   *(const vu_loose *)(c->word + d + LANES) };
		const struct kivi_scale s = {
			.scale = pair_in(load_pair(c->scale, d, elem), elem,
					 out_elem),
			.min = pair_in(load_pair(c->min, d, elem), elem,
				       out_elem) };

		w = words_in(w, CKV_ELEM_F32, out_elem);
		for (uint32_t k = from; k < to; k++) {
			const struct words code = { w.a >> k * f->bits & top,
						    w.b >> k * f->bits & top };

			kivi_store(out + (k - from) * row_bytes, d, code, &s,
				   elem, out_elem);
		}
	}
}

INLINE void kivi_decode_keys_as(const struct kivi_form *f,
				const struct kivi_code *c, enum ckv_elem elem,
				enum ckv_elem out_elem, char *out)
{
	uint32_t per_word = 32u / f->bits;
	size_t bytes = bytes_of(elem), out_bytes = bytes_of(out_elem), to;

	for (size_t i = c->first; i < c->first + c->n; i = to) {
		struct kivi_code word = *c;

		to = i - i % per_word + per_word;
		to = to < c->first + c->n ? to : c->first + c->n;
		word.word += i / per_word * f->dim;
		kivi_decode_key_word(f, &word, (uint32_t)(i % per_word),
				     (uint32_t)(i % per_word + to - i),
				     out + (i - c->first) * f->dim * out_bytes,
				     elem, out_elem);
	}
	for (uint32_t d = f->dim - f->dim % PAIR; d < f->dim; d++) {
		struct kivi_code one = *c;

		one.word += d;
		one.scale = (const char *)c->scale + d * bytes;
		one.min = (const char *)c->min + d * bytes;
		plain_kivi_decode(&one, out_elem, out + d * out_bytes);
	}
}

/* One group of values. */
INLINE void kivi_decode_group(const struct kivi_code *c, uint32_t bits,
			      enum ckv_elem elem, enum ckv_elem out_elem,
			      char *out)
{
	const char *from = (const char *)c->word;
	struct kivi_scale s = { 0 };
	struct kivi_code rest = *c;
	size_t i = 0;

	s.scale.a = s.scale.b = splat(elem_at(c->scale, 0, elem));
	s.min.a = s.min.b = splat(elem_at(c->min, 0, elem));
	for (; i + PAIR <= c->n; i += PAIR) {
		struct words w = kivi_unpack(from + i * bits / 8, bits);

		w = words_in(w, CKV_ELEM_BF16, out_elem);
		kivi_store(out, i, w, &s, elem, out_elem);
	}
	rest.first = i;
	rest.n = c->n - i;
	plain_kivi_decode(&rest, out_elem, out + i * bytes_of(out_elem));
}

INLINE void kivi_decode_values_as(const struct kivi_form *f,
				  struct kivi_code c, size_t n, uint32_t bits,
				  enum ckv_elem elem, enum ckv_elem out_elem,
				  char *out)
{
	const uint32_t *row = c.word;

	for (size_t i = 0; i < n; i++, row += kivi_row_words(f)) {
		for (uint32_t d = 0; d < f->dim; d += f->group) {
			c.word = row + d * bits / 32;
			c.n = kivi_group_at(f, d);
			kivi_decode_group(&c, bits, elem, out_elem, out);
			out += c.n * bytes_of(out_elem);
			c.scale = (const char *)c.scale + bytes_of(elem);
			c.min = (const char *)c.min + bytes_of(elem);
		}
	}
}

/* ---------------------------------- one function for each type and each size */

#define OF_BITS(do, ...)				\
	switch (f->bits) {				\
	case 8:						\
		do(8, __VA_ARGS__);			\
	case 4:						\
		do(4, __VA_ARGS__);			\
	case 2:						\
		do(2, __VA_ARGS__);			\
	}
#define ENCODE_KEYS(bits, elem)	\
	return kivi_encode_keys_as(f, rows, n, code, scale, min, bits, elem)
#define ENCODE_VALUES(bits, elem)	\
	return kivi_encode_values_as(f, rows, n, code, scale, min, bits, elem)
#define DECODE_VALUES(bits, elem, out_elem)	\
	kivi_decode_values_as(f, c, n, bits, elem, out_elem, out); return

static TARGET int kivi_encode_keys(const struct kivi_form *f, const void *rows,
				   size_t n, uint32_t *code, void *scale,
				   void *min)
{
	switch (f->elem) {
	case CKV_ELEM_F32:
		OF_BITS(ENCODE_KEYS, CKV_ELEM_F32)
		break;
	case CKV_ELEM_F16:
		OF_BITS(ENCODE_KEYS, CKV_ELEM_F16)
		break;
	case CKV_ELEM_BF16:
		OF_BITS(ENCODE_KEYS, CKV_ELEM_BF16)
		break;
	}
	return -1;
}

static TARGET int kivi_encode_values(const struct kivi_form *f,
				     const void *rows, size_t n, uint32_t *code,
				     void *scale, void *min)
{
	switch (f->elem) {
	case CKV_ELEM_F32:
		OF_BITS(ENCODE_VALUES, CKV_ELEM_F32)
		break;
	case CKV_ELEM_F16:
		OF_BITS(ENCODE_VALUES, CKV_ELEM_F16)
		break;
	case CKV_ELEM_BF16:
		OF_BITS(ENCODE_VALUES, CKV_ELEM_BF16)
		break;
	}
	return -1;
}

static TARGET void kivi_decode_keys(const struct kivi_form *f,
				    const uint32_t *code, const void *scale,
				    const void *min, size_t first, size_t n,
				    enum ckv_elem out_elem, void *out)
{
	const struct kivi_code c = {
		.form = f, .word = code, .scale = scale, .min = min,
		.stride = f->dim, .first = first, .n = n };

	if (f->elem == CKV_ELEM_F32)
		kivi_decode_keys_as(f, &c, CKV_ELEM_F32, CKV_ELEM_F32, out);
	else if (f->elem == CKV_ELEM_F16 && out_elem == CKV_ELEM_F16)
		kivi_decode_keys_as(f, &c, CKV_ELEM_F16, CKV_ELEM_F16, out);
	else if (f->elem == CKV_ELEM_F16)
		kivi_decode_keys_as(f, &c, CKV_ELEM_F16, CKV_ELEM_F32, out);
	else if (out_elem == CKV_ELEM_BF16)
		kivi_decode_keys_as(f, &c, CKV_ELEM_BF16, CKV_ELEM_BF16, out);
	else
		kivi_decode_keys_as(f, &c, CKV_ELEM_BF16, CKV_ELEM_F32, out);
}

static TARGET void kivi_decode_values(const struct kivi_form *f,
				      const uint32_t *code, const void *scale,
				      const void *min, size_t n,
				      enum ckv_elem out_elem, void *out)
{
	const struct kivi_code c = {
		.form = f, .word = code, .scale = scale, .min = min,
		.stride = 1 };

	if (f->elem == CKV_ELEM_F32) {
		OF_BITS(DECODE_VALUES, CKV_ELEM_F32, CKV_ELEM_F32)
	} else if (f->elem == CKV_ELEM_F16 && out_elem == CKV_ELEM_F16) {
		OF_BITS(DECODE_VALUES, CKV_ELEM_F16, CKV_ELEM_F16)
	} else if (f->elem == CKV_ELEM_F16) {
		OF_BITS(DECODE_VALUES, CKV_ELEM_F16, CKV_ELEM_F32)
	} else if (out_elem == CKV_ELEM_BF16) {
		OF_BITS(DECODE_VALUES, CKV_ELEM_BF16, CKV_ELEM_BF16)
	} else {
		OF_BITS(DECODE_VALUES, CKV_ELEM_BF16, CKV_ELEM_F32)
	}
}
