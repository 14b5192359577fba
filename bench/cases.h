/* SPDX-License-Identifier: MIT */
/* The cases: each measures one thing, and emits its samples. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

/* case_pair.c */
void case_pair(void);
void case_batch(void);
void case_rotate_1(void);
void case_rotate_2(void);
void case_rotate_16(void);
void case_rotate_256(void);

/* case_random.c */
void case_random(void);
void case_random_small(void);

/* case_heaps.c */
void case_life_10(void);
void case_life_1000(void);
void case_life_100000(void);
void case_many(void);
void case_fresh(void);

/* case_growth.c */
void case_double(void);
void case_tenth(void);
void case_large_1(void);
void case_large_4(void);
void case_large_64(void);

/* case_together.c */
void case_relay_threads(void);
void case_relay_processes(void);
void case_churn_threads(void);
void case_churn_processes(void);
void case_regrow(void);

/* case_machine.c */
void case_machine(void);

/* case_shared.c */
void case_fill(void);
void case_attach(void);
void case_smallest(void);

#endif
