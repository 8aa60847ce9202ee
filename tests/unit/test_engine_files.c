/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_engine_files.c - a model's folder: what is missing or wrong in its
 * files is said by file and by key or tensor.
 *
 * Each test takes a whole little folder and breaks one thing in it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/examples/engine/expect.h"
#include "client/examples/engine/model.h"
#include "tests/lib/check_main.h"
#include "tests/lib/checkpoint.h"

static char dir[FOLDER_BYTES];

/* Of the model whose tensors checkpoint.h has. */
static const char config[] =
	"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":8,"
	"\"num_hidden_layers\":1,\"num_attention_heads\":2,"
	"\"num_key_value_heads\":1,\"head_dim\":4,\"vocab_size\":3,"
	"\"rope_theta\":10000.0,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\","
	"\"max_position_embeddings\":64,\"tie_word_embeddings\":false,"
	"\"bos_token_id\":0,\"rope_scaling\":null}";

/* BF16 zeros, but for tensor `odd`: left out, or of another shape or dtype. */
static void write_weights(int odd, const char *how)
{
	static char file[16384];
	size_t at = 0, n = 9;
	int some = 0;

	memset(file, 0, sizeof(file));
	file[8] = '{';
	for (int i = 0; i < (int)COUNT(tensors); i++) {
		unsigned cols = tensors[i].cols != 0 ? tensors[i].cols : 1;
		unsigned rows = tensors[i].rows;
		const char *dtype = "BF16";

		if (i == odd && strcmp(how, "missing") == 0)
			continue;
		if (i == odd && strcmp(how, "shape") == 0)
			rows++;
		if (i == odd && strcmp(how, "dtype") == 0)
			dtype = "I16";
		n += (size_t)snprintf(file + n, sizeof(file) - n,
			tensors[i].cols != 0 ?
			"%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u,%u],"
			"\"data_offsets\":[%zu,%zu]}" :
			"%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%u%.0u],"
			"\"data_offsets\":[%zu,%zu]}", some++ ? "," : "",
			tensors[i].name, dtype, rows, tensors[i].cols, at,
			at + 2 * (size_t)rows * cols);
		at += 2 * (size_t)rows * cols;
	}
	file[n++] = '}';
	ck_assert_uint_lt(n + at, sizeof(file));
	memset(file + n, 0, at);
	file[0] = (char)((n - 8) & 0xff);
	file[1] = (char)((n - 8) >> 8);
	folder_write(dir, "model.safetensors", file, n + at);
}

static void make_folder(void)
{
	folder_make(dir);
	folder_write(dir, "config.json", config, strlen(config));
	folder_write(dir, "vocab.txt", "<bos>\na\nb\n", 10);
	write_weights(-1, "");
}

static void remove_file(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
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
	static const char *const says[] = { "No such file", "one a line",
					    ".gguf" };

	remove_file(names[_i]);
	expect_refusal(-ENOENT, names[_i], says[_i]);
}
END_TEST

/* config.json with one thing in it exchanged. */
static void change_config(const char *from, const char *to)
{
	const char *at = strstr(config, from);
	char text[1024];

	ck_assert_ptr_nonnull(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - config), config,
		 to, at + strlen(from));
	folder_write(dir, "config.json", text, strlen(text));
}

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
	{ "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"head_dim\":4",
	  "\"num_attention_heads\":8", "head_dim is left out, so it is 1" },
	{ "\"vocab_size\":3,\"rope_theta\":10000.0,\"rms_norm_eps\":1e-5,"
	  "\"hidden_act\":\"silu\",\"max_position_embeddings\":64,"
	  "\"tie_word_embeddings\":false,\"bos_token_id\":0",
	  "\"vocab_size\":1,\"max_position_embeddings\":64",
	  "bos_token_id is left out, so it is 1; it must be from 0 to 0" },
	{ "\"rope_theta\":10000.0", "\"rope_theta\":0", "rope_theta must be" },
	{ "\"rope_theta\":10000.0", "\"rope_theta\":10000.0,"
	  "\"rope_parameters\":{\"rope_theta\":500.0}",
	  "rope_theta is 10000, and 500 in rope_parameters" },
	{ "\"rope_scaling\":null", "\"rope_scaling\":{\"factor\":8.0}",
	  "the key rope_scaling.factor is not known" },
	{ "\"rope_scaling\":null", "\"rope_scaling\":[]",
	  "rope_scaling is not an object" },
	{ "\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"linear\"}",
	  "rope_scaling.type is \"linear\"; this engine computes only "
	  "\"default\"" },
	{ "\"rope_scaling\":null", "\"rope_parameters\":{\"rope_type\":\"yarn\"}",
	  "rope_parameters.rope_type is \"yarn\"" },
	{ "\"rope_scaling\":null", "\"rope_parameters\":{\"type\":\"linear\"}",
	  "rope_parameters.type is \"linear\"" },
	{ "\"rope_scaling\":null",
	  "\"rope_parameters\":{\"partial_rotary_factor\":0.5}",
	  "rope_parameters.partial_rotary_factor is 0.5" },
	{ "\"rope_scaling\":null", "\"partial_rotary_factor\":0.5",
	  "partial_rotary_factor is 0.5; this engine computes only 1" },
	{ "\"rope_scaling\":null", "\"sliding_window\":4",
	  "the key sliding_window is not known" },
	{ "\"rope_scaling\":null", "\"quantization_config\":{}",
	  "the key quantization_config is not known" },
	{ "\"rope_scaling\":null", "\"logit_scale\":0.5", "the key logit_scale" },
	{ "\"rope_scaling\":null", "\"pretraining_tp\":2", "pretraining_tp is 2" },
	{ "\"rope_scaling\":null", "\"mlp_bias\":1", "mlp_bias is 1" },
	{ "\"rope_scaling\":null", "\"architectures\":[\"MistralForCausalLM\"]",
	  "architectures is [\"MistralForCausalLM\"]" },
	{ "\"model_type\":\"llama\",", "", "key model_type is missing" },
	{ "ings\":false", "ings\":1", "tie_word_embeddings must be" },
	{ "\"rms_norm_eps\":1e-5", "\"rms_norm_eps\":2", "rms_norm_eps must" },
	{ "\"hidden_act\":\"silu\"", "\"hidden_act\":\"gelu\"", "gelu" },
	{ "\"model_type\":\"llama\"", "\"model_type\":\"gpt2\"", "gpt2" },
	{ "\"bos_token_id\":0", "\"bos_token_id\":3", "bos_token_id must" },
	{ "\"rope_scaling\":null", "\"attention_bias\":true", "attention_bias" },
};

/* A key that is missing, impossible or not supported is named. */
START_TEST(bad_config_keys_are_named)
{
	change_config(config_changes[_i].from, config_changes[_i].to);
	expect_refusal(-EINVAL, "config.json", config_changes[_i].says);
}
END_TEST

static const struct {
	const char *from, *to;
	float rope_theta, norm_eps;
	int bos;			/* -1: none */
} usual[] = {
	{ "\"rope_theta\":10000.0,", "", 1e4f, 1e-5f, 0 },
	{ "\"rope_theta\":10000.0,", "\"rope_parameters\":{\"rope_theta\":500.0,"
	  "\"rope_type\":\"default\"},", 500, 1e-5f, 0 },
	{ "\"rope_scaling\":null", "\"rope_scaling\":{\"type\":\"default\"}",
	  1e4f, 1e-5f, 0 },
	{ "\"rope_scaling\":null", "\"rope_parameters\":null", 1e4f, 1e-5f, 0 },
	{ "\"rms_norm_eps\":1e-5,", "", 1e4f, 1e-6f, 0 },
	{ "\"hidden_act\":\"silu\",", "", 1e4f, 1e-5f, 0 },
	{ "\"head_dim\":4,", "", 1e4f, 1e-5f, 0 },
	{ "\"bos_token_id\":0", "\"bos_token_id\":null,\"eos_token_id\":null,"
	  "\"pad_token_id\":null", 1e4f, 1e-5f, -1 },
	{ "\"bos_token_id\":0,", "\"eos_token_id\":[1,2],", 1e4f, 1e-5f, 1 },
	{ "\"rope_scaling\":null", "\"architectures\":[\"LlamaForCausalLM\"],"
	  "\"_name_or_path\":\"x\",\"transformers_version\":\"4.40.0\","
	  "\"torch_dtype\":\"float16\",\"initializer_range\":0.02,"
	  "\"attention_dropout\":0.0,\"use_cache\":true,\"pretraining_tp\":1,"
	  "\"mlp_bias\":false,\"attention_bias\":null,\"sliding_window\":null",
	  1e4f, 1e-5f, 0 },
};

/* What usual checkpoints leave out, or say beside it, changes nothing. */
START_TEST(usual_configs_are_read)
{
	struct model m;
	struct err e;

	change_config(usual[_i].from, usual[_i].to);
	ck_assert_msg(model_load(dir, &m, &e) == 0, "%s", e.text);
	ck_assert(m.cfg.rope_theta == usual[_i].rope_theta);
	ck_assert(m.cfg.norm_eps == usual[_i].norm_eps);
	ck_assert_int_eq(m.cfg.has_bos ? (int)m.cfg.bos : -1, usual[_i].bos);
	ck_assert_uint_eq(m.cfg.head_dim, 4);
	model_free(&m);
}
END_TEST

/* A model may have more ids than words; those are written as numbers. */
START_TEST(ids_without_words_are_numbers)
{
	uint32_t ids[] = { 1, 2, 0 };
	struct model m;
	struct err e;
	char *text;

	folder_write(dir, "vocab.txt", "<bos>\na\n", 8);
	ck_assert_msg(model_load(dir, &m, &e) == 0, "%s", e.text);
	text = vocab_decode(&m.vocab, ids, 3);
	ck_assert_str_eq(text, "a <2> <bos>");
	free(text);
	model_free(&m);
}
END_TEST

/* An answer is not cut, however long it is. */
START_TEST(long_texts_are_whole)
{
	uint32_t ids[1000];
	struct model m;
	struct err e;
	char *text;

	for (int i = 0; i < 1000; i++)
		ids[i] = (uint32_t)i % 2 + 1;
	ck_assert_msg(model_load(dir, &m, &e) == 0, "%s", e.text);
	text = vocab_decode(&m.vocab, ids, 1000);
	ck_assert_uint_eq(strlen(text), 1999);
	ck_assert_str_eq(text + 1992, "a b a b");
	free(text);
	model_free(&m);
}
END_TEST

static const struct {
	const char *text, *says;
} vocab_changes[] = {
	{ "<bos>\na\nb\nc\n", "more words than the vocab_size 3" },
	{ "<bos>\n\nb\n", "line 2 is empty" },
	{ "<bos>\na\na\n", "twice" },
	{ "", "has no words" },
	{ "<bos>\na\n\xe4\n", "line 3 is not UTF-8" },
};

/* A word list that is not one of this model is refused. */
START_TEST(bad_vocabularies_are_named)
{
	folder_write(dir, "vocab.txt", vocab_changes[_i].text,
		   strlen(vocab_changes[_i].text));
	expect_refusal(-EINVAL, "vocab.txt", vocab_changes[_i].says);
}
END_TEST

/* A list is not read to its first zero byte only. */
START_TEST(vocabularies_are_text)
{
	folder_write(dir, "vocab.txt", "<bos>\na\n\0b\n", 11);
	expect_refusal(-EINVAL, "vocab.txt", "byte 8 is zero");
}
END_TEST

/* Every tensor is asked for by name, and judged by shape and dtype. */
START_TEST(bad_tensors_are_named)
{
	write_weights(_i, "missing");
	expect_refusal(-EINVAL, tensors[_i].name, "is missing");
	write_weights(_i, "shape");
	expect_refusal(-EINVAL, tensors[_i].name, "has not the shape");
	write_weights(_i, "dtype");
	expect_refusal(-EINVAL, tensors[_i].name, "dtype I16");
}
END_TEST

/* A model whose embedding is also its output needs no output matrix. */
START_TEST(tied_embeddings_are_loaded)
{
	struct model m;
	struct err e;

	change_config("ings\":false", "ings\":true");
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
	char *text;

	ck_assert_int_eq(model_load(dir, &m, &e), 0);
	ck_assert_int_eq(vocab_encode(&m.vocab, " a  b\n<bos> ", &ids, &e), 3);
	ck_assert_uint_eq(ids[0], 1);
	ck_assert_uint_eq(ids[1], 2);
	ck_assert_uint_eq(ids[2], 0);
	text = vocab_decode(&m.vocab, ids, 2);
	ck_assert_str_eq(text, "a b");
	free(text);
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

CHECK_MAIN("engine_files",
	CASE("files", .setup = make_folder),
	TEST(whole_folder_is_loaded),
	LOOP(absent_files_are_named, 3),
	EACH(bad_config_keys_are_named, config_changes),
	EACH(usual_configs_are_read, usual),
	TEST(ids_without_words_are_numbers),
	TEST(long_texts_are_whole),
	EACH(bad_vocabularies_are_named, vocab_changes),
	TEST(vocabularies_are_text),
	EACH(bad_tensors_are_named, tensors),
	TEST(tied_embeddings_are_loaded),
	TEST(words_are_encoded),
	TEST(bad_expectations_are_named))
