/*
 * kivi_body.h - kivi in vectors; included by encode_body.h only.
 *
 * Keys have a group in each lane. Values have one in all lanes, whose ends meet once
 * all of it was seen. The ends are found among the stored numbers as whole numbers, so
 * that one of 16 bits takes half a lane, and NaN and infinity come out as an end.
 */

struct kivi_scale {		/* of the groups in PAIR lanes */
	struct pair scale, min;
	vu bad;			/* lanes that cannot be encoded */
};

/* ------------------------------------------------------------ one number */

INLINE vf kivi_scale(vf min, vf max, float top, enum ckv_elem elem)
{
	vf range = round_lanes(max - min, elem);

	return round_lanes(range / splat(top), elem);
}

INLINE vf kivi_value(vf code, vf scale, vf min, enum ckv_elem elem)
{
	if (elem == CKV_ELEM_F16)
		return F16_ROUND(F16_ROUND(code * scale) + min);
	return code * scale + min;
}

INLINE vu kivi_is_bad(vf scale, vf min, float top, enum ckv_elem elem)
{
	vf x = round_lanes(kivi_value(splat(top), scale, min, elem), elem);

	return (vu)((vi)((vu)x & 0x7fffffff) >= 0x7f800000);
}

INLINE struct kivi_scale kivi_scales(struct raw low, struct raw high, float top,
				     enum ckv_elem elem)
{
	struct pair max = raw_pair(raw_key(high, elem), elem);
	struct kivi_scale s;

	s.min = raw_pair(raw_key(low, elem), elem);
	s.scale.a = kivi_scale(s.min.a, max.a, top, elem);
	s.scale.b = kivi_scale(s.min.b, max.b, top, elem);
	s.bad = kivi_is_bad(s.scale.a, s.min.a, top, elem) |
		kivi_is_bad(s.scale.b, s.min.b, top, elem);
	return s;
}

/* Where the scale is 0 this is anything. */
INLINE vu kivi_code(vf x, vf scale, vf min, float top, enum ckv_elem elem)
{
	vf q = round_lanes(round_lanes(x - min, elem) / scale, elem);

	return ROUND(MIN_F32(q, splat(top)));
}

INLINE struct words kivi_codes(struct pair x, const struct kivi_scale *s,
			       float top, enum ckv_elem elem)
{
	return (struct words){
		kivi_code(x.a, s->scale.a, s->min.a, top, elem),
		kivi_code(x.b, s->scale.b, s->min.b, top, elem) };
}

INLINE vu not_zero(vf scale)
{
	return (vu)(scale != splat(0.0f));
}

/* ------------------------------------------------------------------ keys */

/* A word of codes: of up to 32 / bits rows, in PAIR channels. */
INLINE struct words kivi_key_words(const char *x, size_t row_bytes, uint32_t n,
				   const struct kivi_scale *s, uint32_t bits,
				   enum ckv_elem elem)
{
	float top = (float)((1u << bits) - 1u);
	struct words w = { { 0 }, { 0 } };

	for (uint32_t k = 0; k < n; k++) {
		struct words c = kivi_codes(load_pair(x + k * row_bytes, 0, elem),
					    s, top, elem);

		w.a |= c.a << k * bits;
		w.b |= c.b << k * bits;
	}
	w.a &= not_zero(s->scale.a);
	w.b &= not_zero(s->scale.b);
	return words_in(w, elem, CKV_ELEM_F32);
}

/* One group in PAIR channels from x on. Returns its bad lanes. */
INLINE vu kivi_key_pair(const struct kivi_form *f, const char *x, size_t n,
			uint32_t *code, char *scale, char *min, uint32_t bits,
			enum ckv_elem elem)
{
	size_t row_bytes = f->dim * bytes_of(elem);
	struct raw low = raw_key(raw_load(x, 0, elem), elem), high = low;
	struct kivi_scale s;

	for (size_t i = 1; i < n; i++) {
		struct raw key = raw_key(raw_load(x + i * row_bytes, 0, elem),
					 elem);

		low = raw_min(low, key, elem);
		high = raw_max(high, key, elem);
	}
	s = kivi_scales(low, high, (float)((1u << bits) - 1u), elem);
	store_pair(scale, 0, elem, s.scale);
	store_pair(min, 0, elem, s.min);
	for (size_t i = 0; i < n; i += 32 / bits, code += f->dim) {
		struct words w;

		if (n - i >= 32 / bits)
			w = kivi_key_words(x + i * row_bytes, row_bytes,
					   32 / bits, &s, bits, elem);
		else
			w = kivi_key_words(x + i * row_bytes, row_bytes,
					   (uint32_t)(n - i), &s, bits, elem);
		*(vu_loose *)code = w.a;
		*(vu_loose *)(code + LANES) = w.b;
	}
	return s.bad;
}

INLINE int kivi_encode_keys_as(const struct kivi_form *f, const char *rows,
			       size_t n, uint32_t *code, char *scale, char *min,
			       uint32_t bits, enum ckv_elem elem)
{
	vu bad = { 0 };
	uint32_t d = 0;

	for (; d + PAIR <= f->dim; d += PAIR) {
		size_t at = d * bytes_of(elem);

		bad |= kivi_key_pair(f, rows + at, n, code + d, scale + at,
				     min + at, bits, elem);
	}
	for (; d < f->dim; d++) {
		size_t at = d * bytes_of(elem);
		const struct kivi_run g = { f, rows + at, f->dim, n };

		if (plain_kivi_encode(&g, code + d, scale + at, min + at) < 0)
			return -1;
	}
	return any_lane(bad) ? -1 : 0;
}

/* ---------------------------------------------------------------- values */

/* Codes of PAIR channels, as many bits each, lowest first: bits * PAIR / 8 bytes. */
INLINE void kivi_pack(struct words w, uint32_t bits, void *to)
{
	vu both = w.a | w.b << bits;

	if (bits == 8) {
		typedef uint16_t narrow __attribute__((vector_size(LANES * 2)));
		narrow x = __builtin_convertvector(both, narrow);

		memcpy(to, &x, sizeof x);
	} else if (bits == 4) {
		typedef uint8_t narrow __attribute__((vector_size(LANES)));
		narrow x = __builtin_convertvector(both, narrow);

		memcpy(to, &x, sizeof x);
	} else {
		typedef uint8_t narrow __attribute__((vector_size(LANES / 2)));
		vl four = ((vl)both | (vl)both >> 28) & 0xff;
		narrow x = __builtin_convertvector(four, narrow);

		memcpy(to, &x, sizeof x);
	}
}

INLINE struct words kivi_unpack(const void *from, uint32_t bits)
{
	uint32_t top = (1u << bits) - 1u;
	vu both;

	if (bits == 8) {
		typedef uint16_t narrow __attribute__((vector_size(LANES * 2)));
		narrow x;

		memcpy(&x, from, sizeof x);
		both = __builtin_convertvector(x, vu);
	} else if (bits == 4) {
		typedef uint8_t narrow __attribute__((vector_size(LANES)));
		narrow x;

		memcpy(&x, from, sizeof x);
		both = __builtin_convertvector(x, vu);
	} else {
		typedef uint8_t narrow __attribute__((vector_size(LANES / 2)));
		narrow x;
		vl four;

		memcpy(&x, from, sizeof x);
		four = __builtin_convertvector(x, vl);
		both = (vu)(four | four >> 4 << 32);
	}
	return (struct words){ both & top, both >> bits & top };
}

/* The ends of n numbers, a multiple of PAIR, in every lane. */
INLINE struct kivi_scale kivi_row_scale(const char *x, uint32_t n, float top,
					enum ckv_elem elem)
{
	struct raw low = raw_key(raw_load(x, 0, elem), elem), high = low;

	for (uint32_t i = PAIR; i < n; i += PAIR) {
		struct raw key = raw_key(raw_load(x, i, elem), elem);

		low = raw_min(low, key, elem);
		high = raw_max(high, key, elem);
	}
	return kivi_scales(raw_spread(raw_least(low, elem), elem),
			   raw_spread(raw_most(high, elem), elem), top, elem);
}

/* A group of values of n channels, a multiple of PAIR. Returns its bad lanes. */
INLINE vu kivi_value_group(const char *x, uint32_t n, uint32_t *code,
			   void *scale, void *min, uint32_t bits,
			   enum ckv_elem elem)
{
	float top = (float)((1u << bits) - 1u);
	struct kivi_scale s = kivi_row_scale(x, n, top, elem);
	char *to = (char *)code;

	elem_put(scale, 0, elem, s.scale.a[0]);
	elem_put(min, 0, elem, s.min.a[0]);
	for (uint32_t i = 0; i < n; i += PAIR, to += PAIR * bits / 8) {
		struct words w = kivi_codes(load_pair(x, i, elem), &s, top,
					    elem);

		w.a &= not_zero(s.scale.a);
		w.b &= not_zero(s.scale.b);
		kivi_pack(words_in(w, elem, CKV_ELEM_BF16), bits, to);
	}
	return s.bad;
}

INLINE int kivi_encode_values_as(const struct kivi_form *f, const char *rows,
				 size_t n, uint32_t *code, char *scale,
				 char *min, uint32_t bits, enum ckv_elem elem)
{
	size_t bytes = bytes_of(elem);
	vu bad = { 0 };

	for (size_t row = 0; row < n; row++, code += kivi_row_words(f)) {
		for (uint32_t d = 0; d < f->dim; d += f->group) {
			const struct kivi_run g = {
				f, rows + (row * f->dim + d) * bytes, 1,
				kivi_group_at(f, d) };
			uint32_t *to = code + d * bits / 32;

			if (g.n % PAIR == 0 && g.n % (32 / bits) == 0)
				bad |= kivi_value_group(g.x, (uint32_t)g.n, to,
							scale, min, bits, elem);
			else if (plain_kivi_encode(&g, to, scale, min) < 0)
				return -1;
			scale += bytes;
			min += bytes;
		}
	}
	return any_lane(bad) ? -1 : 0;
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

/* Rows [from, to) of a group, which are of one word, in the whole PAIRs. */
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
		struct kivi_scale s = {
			pair_in(load_pair(c->scale, d, elem), elem, out_elem),
			pair_in(load_pair(c->min, d, elem), elem, out_elem),
			{ 0 } };

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
