/* rng.h: random numbers as pure functions of (key, position): Philox4x32-10.  Compiled once; the same bits everywhere.
 *
 * Element i of a call is a function of key and offset + i alone: n numbers and then m more equal n + m at once, and any
 * thread may draw any part.  A stream's whole state is its key and how far it has got.  Each kind of number has streams
 * of its own (a tag in the counter), so that one key can serve several kinds at the same offsets; float32 and float64
 * share: the float32 number is the float64 one cut (uniform) or rounded (normal).
 *
 * Source: Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC'11.
 */
#ifndef CBP_RNG_H
#define CBP_RNG_H

#include <stddef.h>
#include <stdint.h>

/* The bare function; test vectors in Random123's kat_vectors. */
void cbp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

void cbp_rng_bits(uint64_t key, uint64_t offset, ptrdiff_t n, uint64_t *out);
/* [0, 1): multiples of 2^-24 and 2^-53 */
void cbp_rng_uniform_f32(uint64_t key, uint64_t offset, ptrdiff_t n, float *out);
void cbp_rng_uniform_f64(uint64_t key, uint64_t offset, ptrdiff_t n, double *out);
/* mean 0, variance 1, |value| <= 8.6 */
void cbp_rng_normal_f32(uint64_t key, uint64_t offset, ptrdiff_t n, float *out);
void cbp_rng_normal_f64(uint64_t key, uint64_t offset, ptrdiff_t n, double *out);
/* 1 with probability 1 - p, else 0 (p in [0, 1], taken to 32 bits) */
void cbp_rng_mask(uint64_t key, uint64_t offset, ptrdiff_t n, double p, uint8_t *keep);
/* integers in [0, bound), bound >= 1, each exactly as likely as any other */
void cbp_rng_below(uint64_t key, uint64_t offset, ptrdiff_t n, int64_t bound, int64_t *out);
/* 0 .. n - 1 in random order (Fisher-Yates); takes n positions */
void cbp_rng_permutation(uint64_t key, uint64_t offset, ptrdiff_t n, int64_t *out);

#endif
