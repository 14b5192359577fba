/* SPDX-License-Identifier: MIT */
/* suite: the main of a unit test program. For programs that link with Check. */
#ifndef CAIRN_TEST_SUITE_H
#define CAIRN_TEST_SUITE_H

#include <check.h>
#include <stdlib.h>

static inline TCase *suite_case(Suite *suite, const char *name, double seconds)
{
    TCase *tests = tcase_create(name);
    tcase_set_timeout(tests, seconds);
    suite_add_tcase(suite, tests);
    return tests;
}

static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
