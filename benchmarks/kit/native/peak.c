/* What this CPU computes at most in float32: products and sums that never leave its registers. */

#include <stdint.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { SUMS = 12 }; /* enough to keep every unit busy, few enough for any CPU's registers */

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));

/* Operations of so many rounds, a product and a sum being two. */
int64_t operations(int64_t rounds) { return rounds * SUMS * LANES * 2; }

float compute(int64_t rounds, float by, float plus) {
    vec sums[SUMS], factor = by - (vec){0}, term = plus - (vec){0};
    for (int s = 0; s < SUMS; s++) sums[s] = (float)s - (vec){0}; /* no two sums are one */
    for (int64_t i = 0; i < rounds; i++)
        for (int s = 0; s < SUMS; s++) sums[s] = sums[s] * factor + term;
    float total = 0;
    for (int s = 0; s < SUMS; s++) total += sums[s][0];
    return total;
}
