/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - the launchers under the names that front.c calls them by.
 *
 * Included before every launcher of gpu-check, so that front.c can take their own names.
 */
#define ckv_cuda_begin gpu_begin
#define ckv_cuda_window_score gpu_window_score
#define ckv_cuda_norms gpu_norms
#define ckv_cuda_keydiff gpu_keydiff
#define ckv_cuda_pool gpu_pool
#define ckv_cuda_reduce gpu_reduce
#define ckv_cuda_snapkv_score gpu_snapkv_score
#define ckv_cuda_chunk_scores gpu_chunk_scores
#define ckv_cuda_select_top gpu_select_top
#define ckv_cuda_chunkkv_keep gpu_chunkkv_keep
#define ckv_cuda_gather gpu_gather
#define ckv_cuda_encode gpu_encode
#define ckv_cuda_decode gpu_decode
#define ckv_cuda_page_checksum gpu_page_checksum
#define ckv_cuda_select gpu_select
#define ckv_cuda_chunkkv gpu_chunkkv

/* And what they launch with, so that front.c can ask one what it would do. */
#define cuda_launch gpu_launch
