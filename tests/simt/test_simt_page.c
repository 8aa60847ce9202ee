/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_simt_page.c - page checksums under the harness, against libxxhash's.
 */
#include "object.h"
#include "tests/lib/check_main.h"

#include <errno.h>
#include <stdlib.h>

struct run {
	const void **page;
	uint32_t n_pages;
	size_t page_bytes;
	uint64_t *digest, *sum;
};

static int launch(void *arg)
{
	struct run *r = arg;

	return ckv_cuda_page_checksum(r->page, r->n_pages, r->page_bytes, r->digest, r->sum,
				      NULL);
}

static void check_pages(uint32_t n_pages, size_t page_bytes)
{
	size_t n_pieces = (page_bytes + CKV_PIECE_BYTES - 1) / CKV_PIECE_BYTES;
	const void *page[5];
	uint64_t sum[5], seed = page_bytes;
	struct run r = { page, n_pages, page_bytes, NULL, sum };

	r.digest = object_area(n_pages * n_pieces * sizeof *r.digest);
	for (uint32_t i = 0; i < n_pages; i++) {
		uint8_t *bytes = object_area(page_bytes);

		for (size_t k = 0; k < page_bytes; k++)
			bytes[k] = (uint8_t)object_random(&seed);
		page[i] = bytes;
	}
	ck_assert_int_eq(object_run(launch, &r, sum, n_pages * sizeof *sum), 0);
	for (uint32_t i = 0; i < n_pages; i++) {
		ck_assert_msg(sum[i] == ckv_page_checksum(page[i], page_bytes),
			      "page %u of %zu bytes", i, page_bytes);
		free((void *)(uintptr_t)page[i]);
	}
	free(r.digest);
}

/* Sums are libxxhash's for every length that its short forms tell apart. */
START_TEST(every_short_page)
{
	for (size_t n = 1; n <= 400; n += n < 20 ? 1 : n % 16 == 0 || n % 16 == 15 ? 1 : 7)
		check_pages(1, n);
}
END_TEST

/* And for pages of several pieces, the last one short in every way. */
START_TEST(pages_of_several_pieces)
{
	static const size_t left[] = { 0, 1, 5, 16, 100, 200, 241, 1024, 1025, 4095 };

	for (size_t i = 0; i < sizeof left / sizeof *left; i++)
		check_pages(2, 4096 + left[i]);
	check_pages(5, 31 * 4096);	/* odd rows of digests, joined by stripes */
	check_pages(3, 33 * 4096 + 64);
	check_pages(1, 130 * 4096);
}
END_TEST

START_TEST(impossible_pages_are_refused)
{
	const void *page = NULL;
	uint64_t word[2];

	ck_assert_int_eq(ckv_cuda_page_checksum(&page, 0, 0, word, word, NULL), 0);
	ck_assert_int_eq(ckv_cuda_page_checksum(&page, 1, 0, word, word, NULL), -EINVAL);
	ck_assert_int_eq(ckv_cuda_page_checksum(NULL, 1, 9, word, word, NULL), -EINVAL);
	ck_assert_int_eq(ckv_cuda_page_checksum(&page, 1, 9, NULL, word, NULL), -EINVAL);
	ck_assert_int_eq(ckv_cuda_page_checksum(&page, 1, 9, word, NULL, NULL), -EINVAL);
}
END_TEST

CHECK_MAIN("simt page",
	CASE("checksum", .timeout = 120),
	TEST(every_short_page),
	TEST(pages_of_several_pieces),
	TEST(impossible_pages_are_refused))
