/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_files.c - a model's folder: what is missing or wrong in its
 * files is said by file and by key or tensor.
 *
 * Each test takes a whole little folder and breaks one thing in it.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/expect.h"
#include "client/examples/engine/model.h"

#define DIR_TEMPLATE	"/tmp/ckv-engine-test.XXXXXX"

static char dir[sizeof(DIR_TEMPLATE)];

/* 1 layer, width 8, 2 query heads, 1 kv head of 4, MLP 8, 3 words. */
static const char config[] =
	"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":8,"
	"\"num_hidden_layers\":1,\"num_attention_heads\":2,"
	"\"num_key_value_heads\":1,\"head_dim\":4,\"vocab_size\":3,"
	"\"rope_theta\":10000.0,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\","
	"\"max_position_embeddings\":64,\"tie_word_embeddings\":false,"
	"\"bos_token_id\":0,\"rope_scaling\":null}";

static const struct weight {
	const char *name;
	unsigned rows, cols;
} weights[] = {
	{ "model.embed_tokens.weight", 3, 8 },
	{ "lm_head.weight", 3, 8 },
	{ "model.norm.weight", 8, 0 },
	{ "model.layers.0.input_layernorm.weight", 8, 0 },
	{ "model.layers.0.post_attention_layernorm.weight", 8, 0 },
	{ "model.layers.0.self_attn.q_proj.weight", 8, 8 },
	{ "model.layers.0.self_attn.k_proj.weight", 4, 8 },
	{ "model.layers.0.self_attn.v_proj.weight", 4, 8 },
	{ "model.layers.0.self_attn.o_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.gate_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.up_proj.weight", 8, 8 },
	{ "model.layers.0.mlp.down_proj.weight", 8, 8 },
};

#define N_WEIGHTS	(sizeof(weights) / sizeof(weights[0]))

static void write_file(const char *name, const void *data, size_t bytes)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, bytes, f), bytes);
	ck_assert_int_eq(fclose(f), 0);
}

/* BF16 zeros, but for weight `odd`: left out, or of another shape or dtype. */
static void write_weights(int odd, const char *how)
{
	static char file[16384];
	size_t at = 0, n = 9;
	int some = 0;

	memset(file, 0, sizeof(file));
	file[8] = '{';
	for (int i = 0; i < (int)N_WEIGHTS; i++) {
		unsigned cols = weights[i].cols != 0 ? weights[i].cols : 1;
		unsigned rows = weights[i].rows;
		const char *dtype = "BF16";

		if (i == odd && strcmp(how, "missing") == 0)
			continue;
		if (i == odd && strcmp(how, "shape") == 0)
			rows++;
		if (i == odd && strcmp(how, "dtype") == 0)
			dtype = "F16";
		n += (size_t)snprintf(file + n, sizeof(file) - n,
			weights[i].cols != 0 ?
			"%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u,%u],"
			"\"data_offsets\":[%zu,%zu]}" :
			"%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u%.0u],"
			"\"data_offsets\":[%zu,%zu]}", some++ ? "," : "",
			weights[i].name, dtype, rows, weights[i].cols, at,
			at + 2 * (size_t)rows * cols);
		at += 2 * (size_t)rows * cols;
	}
	file[n++] = '}';
	ck_assert_uint_lt(n + at, sizeof(file));
	memset(file + n, 0, at);
	file[0] = (char)((n - 8) & 0xff);
	file[1] = (char)((n - 8) >> 8);
	write_file("model.safetensors", file, n + at);
}

static void make_folder(void)
{
	strcpy(dir, DIR_TEMPLATE);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	write_file("config.json", config, strlen(config));
	write_file("vocab.txt", "<bos>\na\nb\n", 10);
	write_weights(-1, "");
}

static void remove_file(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

static void remove_folder(void)
{
	remove_file("config.json");
	remove_file("vocab.txt");
	remove_file("model.safetensors");
	rmdir(dir);
}

static void expect_refusal(int code, const char *file, const char *says)
{
	struct model m, before;
	struct err e = { "" };

	memset(&before, 0xa5, sizeof(before));
	m = before;
	ck_assert_int_eq(model_load(dir, &m, &e), code);
	ck_assert_mem_eq(&m, &before, sizeof(m));
	ck_assert_msg(strstr(e.text, file) != NULL && strstr(e.text, says),
		      "\"%s\" does not name %s and %s", e.text, file, says);
}

/* The folder that the other tests break is whole. */
START_TEST(whole_folder_is_loaded)
{
	struct model m;
	struct err e;

	ck_assert_int_eq(model_load(dir, &m, &e), 0);
	ck_assert_uint_eq(m.cfg.hidden, 8);
	ck_assert_uint_eq(m.head.n_out, 3);
	ck_assert_int_eq((int)vocab_find(&m.vocab, "b"), 2);
	model_free(&m);
}
END_TEST

/* A file that is not there is named. */
START_TEST(absent_files_are_named)
{
	static const char *const names[] = { "config.json", "vocab.txt",
					     "model.safetensors" };

	remove_file(names[_i]);
	expect_refusal(-ENOENT, names[_i], "No such file");
}
END_TEST

static const struct {
	const char *from, *to, *says;
} config_changes[] = {
	{ "{", "[", "not a JSON object" },
	{ "\"hidden_size\":8,", "", "key hidden_size is missing" },
	{ "\"hidden_size\":8", "\"hidden_size\":\"8\"", "hidden_size must be" },
	{ "\"hidden_size\":8", "\"hidden_size\":-8", "hidden_size must be" },
	{ "\"vocab_size\":3", "\"vocab_size\":4294967299", "vocab_size must" },
	{ "\"num_hidden_layers\":1,", "", "num_hidden_layers" },
	{ "\"num_key_value_heads\":1", "\"num_key_value_heads\":3",
	  "does not divide" },
	{ "\"head_dim\":4", "\"head_dim\":5", "head_dim 5 is not even" },
	{ "\"rope_theta\":10000.0,", "", "rope_theta is missing" },
	{ "\"rope_scaling\":null", "\"rope_scaling\":{\"factor\":8.0}",
	  "rope_scaling is not supported" },
	{ "\"rope_scaling\":null", "\"rope_parameters\":{\"rope_type\":\"yarn\"}",
	  "type yarn" },
	{ "\"rms_norm_eps\":1e-5", "\"rms_norm_eps\":2", "rms_norm_eps must" },
	{ "\"hidden_act\":\"silu\"", "\"hidden_act\":\"gelu\"", "gelu" },
	{ "\"model_type\":\"llama\"", "\"model_type\":\"gpt2\"", "gpt2" },
	{ "\"bos_token_id\":0", "\"bos_token_id\":3", "bos_token_id must" },
	{ "\"rope_scaling\":null", "\"attention_bias\":true", "attention_bias" },
};

/* A key that is missing, impossible or not supported is named. */
START_TEST(bad_config_keys_are_named)
{
	const char *at = strstr(config, config_changes[_i].from);
	char text[1024];

	ck_assert_ptr_nonnull(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - config), config,
		 config_changes[_i].to, at + strlen(config_changes[_i].from));
	write_file("config.json", text, strlen(text));
	expect_refusal(-EINVAL, "config.json", config_changes[_i].says);
}
END_TEST

static const struct {
	const char *text, *says;
} vocab_changes[] = {
	{ "<bos>\na\n", "has 2 words" },
	{ "<bos>\na\nb\nc\n", "more than 3" },
	{ "<bos>\n\nb\n", "line 2 is empty" },
	{ "<bos>\na\na\n", "twice" },
	{ "", "has 0 words" },
};

/* A word list of another size than the model's is refused. */
START_TEST(bad_vocabularies_are_named)
{
	write_file("vocab.txt", vocab_changes[_i].text,
		   strlen(vocab_changes[_i].text));
	expect_refusal(-EINVAL, "vocab.txt", vocab_changes[_i].says);
}
END_TEST

/* Every tensor is asked for by name, and judged by shape and dtype. */
START_TEST(bad_tensors_are_named)
{
	write_weights(_i, "missing");
	expect_refusal(-EINVAL, weights[_i].name, "is missing");
	write_weights(_i, "shape");
	expect_refusal(-EINVAL, weights[_i].name, "has not the shape");
	write_weights(_i, "dtype");
	expect_refusal(-EINVAL, weights[_i].name, "dtype F16");
}
END_TEST

/* A model whose embedding is also its output needs no output matrix. */
START_TEST(tied_embeddings_are_loaded)
{
	const char *at = strstr(config, "ings\":false");
	struct model m;
	struct err e;
	char text[1024];

	snprintf(text, sizeof(text), "%.*sings\":true%s", (int)(at - config),
		 config, at + strlen("ings\":false"));
	write_file("config.json", text, strlen(text));
	write_weights(1, "missing");
	ck_assert_msg(model_load(dir, &m, &e) == 0, "%s", e.text);
	ck_assert_uint_eq(m.head.n_out, 3);
	model_free(&m);
}
END_TEST

/* Text becomes ids and ids text; an unknown word is refused by name. */
START_TEST(words_are_encoded)
{
	struct model m;
	struct err e;
	uint32_t *ids;
	char text[8];

	ck_assert_int_eq(model_load(dir, &m, &e), 0);
	ck_assert_int_eq(vocab_encode(&m.vocab, " a  b\n<bos> ", &ids, &e), 3);
	ck_assert_uint_eq(ids[0], 1);
	ck_assert_uint_eq(ids[1], 2);
	ck_assert_uint_eq(ids[2], 0);
	vocab_decode(&m.vocab, ids, 2, text, sizeof(text));
	ck_assert_str_eq(text, "a b");
	free(ids);
	ck_assert_int_eq(vocab_encode(&m.vocab, "a bb", &ids, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.text, "\"bb\""));
	model_free(&m);
}
END_TEST

/* A file that is no file of expectations is refused. */
START_TEST(bad_expectations_are_named)
{
	char path[256];
	struct expect x;
	struct err e;

	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	ck_assert_int_eq(expect_load(path, 3, &x, &e), -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.text, "rule"));
	ck_assert_int_eq(expect_load("/nonexistent/x", 3, &x, &e), -ENOENT);
	ck_assert_int_eq(expect_load("tests/data/tiny-recall/"
				     "expected.safetensors", 3, &x, &e),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(e.text, "p0.logits has 512 values"));
	ck_assert_int_eq(expect_load("tests/data/tiny-recall/"
				     "expected.safetensors", 512, &x, &e), 0);
	ck_assert_uint_eq(x.n_prompts, 8);
	ck_assert(x.diff_max == 2e-3);
	expect_free(&x);
}
END_TEST

#define LEN(a)	((int)(sizeof(a) / sizeof((a)[0])))

int main(void)
{
	Suite *s = suite_create("engine_files");
	TCase *t = tcase_create("files");
	SRunner *sr = srunner_create(s);
	int failed;

	suite_add_tcase(s, t);
	tcase_add_checked_fixture(t, make_folder, remove_folder);
	tcase_add_test(t, whole_folder_is_loaded);
	tcase_add_loop_test(t, absent_files_are_named, 0, 3);
	tcase_add_loop_test(t, bad_config_keys_are_named, 0,
			    LEN(config_changes));
	tcase_add_loop_test(t, bad_vocabularies_are_named, 0,
			    LEN(vocab_changes));
	tcase_add_loop_test(t, bad_tensors_are_named, 0, LEN(weights));
	tcase_add_test(t, tied_embeddings_are_loaded);
	tcase_add_test(t, words_are_encoded);
	tcase_add_test(t, bad_expectations_are_named);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
