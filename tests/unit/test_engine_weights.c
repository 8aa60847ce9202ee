/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_weights.c - a checkpoint's tensors, however they are stored: each
 * has its place in the model, and the same numbers make the same model.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/model.h"
#include "client/examples/engine/st.h"
#include "client/examples/engine/vec.h"
#include "tests/lib/check_main.h"
#include "tests/lib/checkpoint.h"

static char dir[FOLDER_BYTES];

/* Of the model whose tensors checkpoint.h has. */
static const char config[] =
	"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":8,"
	"\"num_hidden_layers\":1,\"num_attention_heads\":2,"
	"\"num_key_value_heads\":1,\"vocab_size\":3,"
	"\"max_position_embeddings\":64,\"tie_word_embeddings\":%s}";

#define ROPE		"model.layers.0.self_attn.rotary_emb.inv_freq"

/* A file that is being put together. */
struct file {
	char head[8192], data[16384];
	size_t n_head, n_data;
};

static struct file file;

static void begin(void)
{
	memset(&file, 0, sizeof(file));
	file.n_head = (size_t)snprintf(file.head, sizeof(file.head), "{");
}

/* A number that all three types hold exactly: n/8 with |n| < 128. */
static void put(enum st_dtype dtype, float f)
{
	union { float f; uint32_t u; } v = { .f = f };
	uint32_t exponent = v.u >> 23 & 0xff;
	uint16_t half = (uint16_t)(v.u >> 16);

	if (dtype == ST_F16)
		half = exponent == 0 ? 0 :
		       (uint16_t)(v.u >> 31 << 15 | (exponent - 112) << 10 |
				  (v.u >> 13 & 0x3ff));
	memcpy(file.data + file.n_data, dtype == ST_F32 ? (void *)&v.f :
	       (void *)&half, dtype == ST_F32 ? 4 : 2);
	file.n_data += dtype == ST_F32 ? 4 : 2;
}

static void add(const struct tensor *t, enum st_dtype dtype, unsigned seed)
{
	unsigned n = t->rows * (t->cols != 0 ? t->cols : 1);
	size_t from = file.n_data;

	for (unsigned i = 0; i < n; i++)
		put(dtype, (float)((int)((i + 1) * (seed + 7) % 255) - 127) / 8);
	file.n_head += (size_t)snprintf(file.head + file.n_head,
		sizeof(file.head) - file.n_head, "%s\"%s\":{\"dtype\":\"%s\","
		"\"shape\":[%u", file.n_head > 1 ? "," : "", t->name,
		st_dtype_name(dtype), t->rows);
	file.n_head += (size_t)snprintf(file.head + file.n_head,
		sizeof(file.head) - file.n_head, t->cols != 0 ? ",%u" : "%.0u",
		t->cols);
	file.n_head += (size_t)snprintf(file.head + file.n_head,
		sizeof(file.head) - file.n_head, "],\"data_offsets\":[%zu,%zu]}",
		from, file.n_data);
	ck_assert_uint_lt(file.n_data, sizeof(file.data));
	ck_assert_uint_lt(file.n_head + 2, sizeof(file.head));
}

static void end(const char *name)
{
	static char all[sizeof(file) + 16];
	uint64_t n = file.n_head + 1;

	memcpy(all, &n, 8);
	memcpy(all + 8, file.head, file.n_head);
	all[8 + file.n_head] = '}';
	memcpy(all + 8 + n, file.data, file.n_data);
	folder_write(dir, name, all, 8 + n + file.n_data);
}

static void write_text(const char *name, const char *text)
{
	folder_write(dir, name, text, strlen(text));
}

static void write_config(const char *tied)
{
	char text[1024];

	snprintf(text, sizeof(text), config, tied);
	write_text("config.json", text);
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

/* All usual tensors in one file, and perhaps one more. */
static void write_whole(enum st_dtype dtype, const struct tensor *more)
{
	begin();
	for (unsigned i = 0; i < COUNT(tensors); i++)
		add(&tensors[i], dtype, i);
	if (more != NULL)
		add(more, dtype, 99);
	end("model.safetensors");
}

static void make_folder(void)
{
	folder_make(dir);
	write_config("false");
	write_text("vocab.txt", "<unk>\n<bos>\na\n");
	write_whole(ST_F32, NULL);
}

static void load(struct model *ret)
{
	struct err e;

	ck_assert_msg(model_load(dir, ret, &e) == 0, "%s", e.text);
}

static void expect_refusal(int code, const char *name, const char *says)
{
	struct model m;
	struct err e = { "" };

	ck_assert_int_eq(model_load(dir, &m, &e), code);
	ck_assert_msg(strstr(e.text, name) != NULL && strstr(e.text, says),
		      "\"%s\" does not say %s and %s", e.text, name, says);
}

static void expect_same(const struct matrix *a, const struct matrix *b)
{
	size_t n_rows = (a->n_out + VEC_PANEL - 1) / VEC_PANEL * VEC_PANEL;

	ck_assert_uint_eq(a->n_out, b->n_out);
	ck_assert_mem_eq(a->panel, b->panel, n_rows * a->n_in * sizeof(float));
}

/* The model in the folder has the numbers of the one that make_folder() made. */
static void expect_the_model(const struct model *want)
{
	struct model m;

	load(&m);
	ck_assert_mem_eq(m.embed, want->embed, 3 * 8 * sizeof(float));
	ck_assert_mem_eq(m.norm, want->norm, 8 * sizeof(float));
	expect_same(&m.head, &want->head);
	expect_same(&m.layer[0].q, &want->layer[0].q);
	expect_same(&m.layer[0].v, &want->layer[0].v);
	expect_same(&m.layer[0].down, &want->layer[0].down);
	model_free(&m);
}

/* Floats, halves of either kind: the same numbers are the same model. */
START_TEST(each_type_is_read)
{
	struct model m;

	load(&m);
	write_whole(ST_F16, NULL);
	expect_the_model(&m);
	write_whole(ST_BF16, NULL);
	expect_the_model(&m);
	model_free(&m);
}
END_TEST

/* The usual tensors in two files, and their index, which may be wrong. */
static void write_shards(const char *index_extra)
{
	char index[4096];
	size_t n = 0;

	remove_file("model.safetensors");
	n += (size_t)snprintf(index + n, sizeof(index) - n,
			      "{\"metadata\":{\"total_size\":1},\"weight_map\":{%s",
			      index_extra);
	for (unsigned part = 0; part < 2; part++) {
		begin();
		for (unsigned i = part; i < COUNT(tensors); i += 2) {
			add(&tensors[i], ST_F32, i);
			n += (size_t)snprintf(index + n, sizeof(index) - n,
				"%s\"%s\":\"%c.safetensors\"", n > 60 ||
				*index_extra ? "," : "", tensors[i].name,
				'a' + (int)part);
		}
		end(part == 0 ? "a.safetensors" : "b.safetensors");
	}
	snprintf(index + n, sizeof(index) - n, "}}");
	write_text("model.safetensors.index.json", index);
}

/* A checkpoint in several files is read by its index. */
START_TEST(shards_are_read)
{
	struct model m;

	load(&m);
	write_shards("");
	expect_the_model(&m);
	model_free(&m);
}
END_TEST

#define INDEX "model.safetensors.index.json"

/* What index and files do not both say is refused by name. */
START_TEST(shards_that_differ_are_named)
{
	static const struct tensor more = { "model.more.weight", 2, 0 };

	write_shards("\"model.more.weight\":\"b.safetensors\"");
	expect_refusal(-EINVAL, INDEX, "tensor model.more.weight is not in "
		       "b.safetensors");
	write_shards("\"model.more.weight\":\"../b.safetensors\"");
	expect_refusal(-EINVAL, INDEX, "tensor model.more.weight: the file");
	write_shards("\"model.more.weight\":7");
	expect_refusal(-EINVAL, INDEX, "tensor model.more.weight: the file");
	write_shards("");
	begin();
	for (unsigned i = 1; i < COUNT(tensors); i += 2)
		add(&tensors[i], ST_F32, i);
	add(&more, ST_F32, 0);
	end("b.safetensors");
	expect_refusal(-EINVAL, INDEX, "tensor model.more.weight is in "
		       "b.safetensors, but the index says nothing of it");
	write_shards("");
	remove_file("b.safetensors");
	expect_refusal(-ENOENT, "b.safetensors", "is the download complete?");
	write_text(INDEX, "{\"weight_map\":[]}");
	expect_refusal(-EINVAL, INDEX, "weight_map is not an object");
	write_text(INDEX, "{");
	expect_refusal(-EINVAL, INDEX, "'}'");
	write_text(INDEX, "{\"weight_map\":{}}");
	expect_refusal(-EINVAL, "model.embed_tokens.weight", "is missing");
}
END_TEST

/* A tensor in two files is not read from one of them by chance. */
START_TEST(tensor_twice_is_named)
{
	write_shards("");
	begin();
	for (unsigned i = 1; i < COUNT(tensors); i += 2)
		add(&tensors[i], ST_F32, i);
	add(&tensors[0], ST_F32, 0);
	end("b.safetensors");
	expect_refusal(-EINVAL, INDEX, "tensor model.embed_tokens.weight is in "
		       "b.safetensors, but the index says a.safetensors");
}
END_TEST

static const struct tensor unused[] = {
	{ "model.layers.0.self_attn.q_proj.bias", 8, 0 },
	{ "model.layers.1.input_layernorm.weight", 8, 0 },
	{ "model.layers.0.self_attn.q_norm.weight", 4, 0 },
	{ "zz.empty", 0, 4 },
};

/* A tensor that the engine does not compute with is refused by its name. */
START_TEST(unused_tensors_are_named)
{
	write_whole(ST_F32, &unused[_i]);
	expect_refusal(-EINVAL, unused[_i].name, "not one that this engine");
}
END_TEST

/* The output of a tied model may be there: as the embedding, as nothing else. */
START_TEST(tied_output_is_compared)
{
	struct model m;

	write_config("true");
	expect_refusal(-EINVAL, "lm_head.weight", "is not the embedding");
	begin();
	for (unsigned i = 0; i < COUNT(tensors); i++)
		add(&tensors[i], ST_F32, i == 1 ? 0 : i);
	end("model.safetensors");
	load(&m);
	ck_assert_uint_eq(m.head.n_out, 3);
	model_free(&m);
}
END_TEST

/* Stored frequencies of RoPE must be those of config.json: here 1 and 0.01. */
START_TEST(stored_rope_is_compared)
{
	static const struct tensor rope = { ROPE, 2, 0 };
	float right[] = { 1.0f, 0.01f };
	struct model m;

	write_whole(ST_F32, &rope);
	expect_refusal(-EINVAL, ROPE, "is not what rope_theta");
	memcpy(file.data + file.n_data - sizeof(right), right, sizeof(right));
	end("model.safetensors");
	load(&m);
	model_free(&m);
	right[1] = 0.0102f;
	memcpy(file.data + file.n_data - sizeof(right), right, sizeof(right));
	end("model.safetensors");
	expect_refusal(-EINVAL, ROPE, "is not what rope_theta");
}
END_TEST

CHECK_MAIN("engine_weights",
	CASE("weights", .setup = make_folder),
	TEST(each_type_is_read),
	TEST(shards_are_read),
	TEST(shards_that_differ_are_named),
	TEST(tensor_twice_is_named),
	EACH(unused_tensors_are_named, unused),
	TEST(tied_output_is_compared),
	TEST(stored_rope_is_compared))
