/* SPDX-License-Identifier: MIT */
/*
 * What guarded code asks of a compiler; guards.sh tries each that is there, with and without optimization. A filter
 * runs in its function's frame while another stack pointer is in use, and so does a termination block whose block was
 * left early: whatever the compiler keeps in that frame for the block must be there afterwards.
 */
#include <windows.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define RESERVED 65536

static int failures;

static void check(bool holds, int line)
{
    if (!holds) {
        failures++;
        printf("guards.c:%d\n", line);
    }
}
#define CHECK(condition) check((condition), __LINE__)

/* Overwrites what lies below its caller. */
__attribute__((noinline)) static int use_stack(int depth)
{
    volatile char room[3000];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0x5a;
    return depth > 0 ? use_stack(depth - 1) + room[7] : room[9];
}

__attribute__((noinline)) static int sum_of(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j)
{
    (void)use_stack(1);
    return a + b + c + d + e + f + g + h + i + j;
}

static char *reserve(void)
{
    return VirtualAlloc(NULL, RESERVED, MEM_RESERVE, PAGE_READWRITE);
}

static int commit(EXCEPTION_POINTERS *pointers)
{
    void *address = (void *)pointers->ExceptionRecord->ExceptionInformation[1];
    (void)use_stack(3);
    return VirtualAlloc(address, 1, MEM_COMMIT, PAGE_READWRITE) != NULL ? EXCEPTION_CONTINUE_EXECUTION
                                                                        : EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((noinline)) static void store(char *address)
{
    *(volatile char *)address = 1;
}

/* ---------------------------------------------------------------- frames between the guard and the fault */

struct count {
    volatile int faults;
    char room[4000];
};
static struct count *volatile count;

static int count_and_commit(EXCEPTION_POINTERS *pointers, int value)
{
    int answer = commit(pointers);
    count->faults++;
    return value == 10 ? answer : EXCEPTION_EXECUTE_HANDLER;
}

__attribute__((noinline)) static int count_faults(char *base)
{
    struct count here;
    here.faults = 0;
    count = &here;
    for (size_t i = 0; i < 4; i++)
        store(base + i * 4096);
    count = NULL;
    return here.faults;
}

static void a_filter_changes_a_frame_between(void)
{
    volatile int faults = 0;
    __try {
        faults = count_faults(reserve());
    } __except (count_and_commit(GetExceptionInformation(), 10)) {
        faults = -1;
    }
    CHECK(faults == 4);
}

/* ---------------------------------------------------------------- values that live over faults */

/* More values than registers, in the block and in the filter. The result does not depend on whether there are faults.
 */
__attribute__((noinline)) static long compute(char *base, int k, int *ret_faults)
{
    long a = k * 3 + 1, b = k * 5 + 2, c = k * 7 + 3, d = k * 11 + 4, e = k * 13 + 5, f = k * 17 + 6, g = k * 19 + 7;
    double x = k * 1.5, y = k * 2.5, z = k * 3.5;
    volatile int faults = 0;
    volatile long out = 0;
    __try {
        long ab = a * b, bc = b * c, cd = c * d, de = d * e, ef = e * f, fg = f * g;
        double xy = x * y, yz = y * z;
        char bytes[200];
        memset(bytes, k, sizeof bytes);
        for (size_t i = 0; i < 4; i++) {
            *(volatile char *)(base + i * 4096) = (char)i;
            ab += (long)i;
            bc ^= ab;
            cd += bc;
            xy += yz;
        }
        long sum = 0;
        for (size_t i = 0; i < sizeof bytes; i++)
            sum += bytes[i];
        out = ab + bc + cd + de + ef + fg + (long)(xy * 4) + (long)(yz * 4) + sum;
    } __except (faults = faults + 1,
                VirtualAlloc((void *)GetExceptionInformation()->ExceptionRecord->ExceptionInformation[1], 1, MEM_COMMIT,
                             PAGE_READWRITE),
                sum_of(faults * sum_of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10), sum_of(2, 2, 3, 4, 5, 6, 7, 8, 9, 10),
                       sum_of(3, 2, 3, 4, 5, 6, 7, 8, 9, 10) * (int)a, sum_of(4, 2, 3, 4, 5, 6, 7, 8, 9, 10) * (int)b,
                       sum_of(5, 2, 3, 4, 5, 6, 7, 8, 9, 10), sum_of(6, 2, 3, 4, 5, 6, 7, 8, 9, 10) + (int)c,
                       sum_of(7, 2, 3, 4, 5, 6, 7, 8, 9, 10), sum_of(8, 2, 3, 4, 5, 6, 7, 8, 9, 10),
                       sum_of(9, 2, 3, 4, 5, 6, 7, 8, 9, 10), (int)x + (int)y) == -1
                    ? EXCEPTION_EXECUTE_HANDLER
                    : EXCEPTION_CONTINUE_EXECUTION) {
        out = -1;
    }
    *ret_faults = faults;
    return out + a + b + c + d + e + f + g + (long)z;
}

static void values_of_the_block_outlive_filters(void)
{
    for (int k = 1; k < 20; k++) {
        int faults, none;
        char *there = reserve();
        (void)VirtualAlloc(there, RESERVED, MEM_COMMIT, PAGE_READWRITE);
        long result = compute(reserve(), k, &faults);
        CHECK(result == compute(there, k, &none));
        CHECK(faults == 4 && none == 0);
    }
}

/* ---------------------------------------------------------------- other kinds of frames */

/* Its frame is aligned beyond the stack. */
static void a_filter_has_aligned_variables(void)
{
    _Alignas(64) volatile unsigned char bytes[256];
    volatile int seen = 0, out = 0;
    char *base = reserve();
    for (int i = 0; i < 256; i++)
        bytes[i] = (unsigned char)(7 * i);
    __try {
        store(base);
        store(base + 4096);
        out = 1;
    } __except (seen = seen + (bytes[100] == (unsigned char)700), bytes[3] = 9, commit(GetExceptionInformation())) {
        out = 2;
    }
    CHECK(seen == 2 && out == 1 && bytes[3] == 9);
    for (int i = 4; i < 256; i++)
        CHECK(bytes[i] == (unsigned char)(7 * i));
}

typedef float vector __attribute__((vector_size(32)));

__attribute__((noinline)) static float compute_vectors(char *base, int k)
{
    vector x = {(float)k, 2, 3, 4, 5, 6, 7, 8}, y = {8, 7, 6, 5, 4, 3, 2, (float)k};
    volatile float out = 0;
    __try {
        vector product = x * y;
        *(volatile char *)base = 1;
        product += x;
        *(volatile char *)(base + 4096) = 2;
        product *= y;
        out = product[0] + product[1] + product[2] + product[3] + product[7];
    } __except (commit(GetExceptionInformation())) {
        out = -1;
    }
    vector difference = x - y;
    return out + difference[0];
}

static void vectors_outlive_filters(void)
{
    char *there = reserve();
    (void)VirtualAlloc(there, RESERVED, MEM_COMMIT, PAGE_READWRITE);
    CHECK(compute_vectors(reserve(), 3) == compute_vectors(there, 3));
}

__attribute__((noinline)) static int sum_guarded(int a, int b, int c, int d, int e, int f, int on_stack, int too)
{
    volatile int sum = 0;
    __try {
        RaiseException(1, 0, 0, NULL);
        sum = sum + a + b + c + d + e + f + on_stack + too;
    } __except (sum = a + b + c + d + e + f + on_stack * 10 + too * 100, (void)use_stack(2),
                EXCEPTION_CONTINUE_EXECUTION) {
        sum = -1;
    }
    return sum;
}

static void a_filter_has_parameters(void)
{
    CHECK(sum_guarded(1, 2, 3, 4, 5, 6, 7, 8) == 21 + 70 + 800 + 36);
}

__attribute__((noinline)) static int fill_array(int n)
{
    volatile char array[n];
    volatile int right = 0;
    for (int i = 0; i < n; i++)
        array[i] = (char)i;
    __try {
        volatile char inner[2 * n];
        inner[n] = 3;
        RaiseException(1, 0, 0, NULL);
        right = right + array[n - 1] + inner[n];
    } __except (right = array[n - 2] + array[1], (void)use_stack(2), EXCEPTION_CONTINUE_EXECUTION) {
        right = -1;
    }
    return right;
}

static void a_filter_has_arrays_of_any_length(void)
{
    CHECK(fill_array(50) == 48 + 1 + 49 + 3);
}

/* ---------------------------------------------------------------- blocks that are left early */

enum way { WAY_END, WAY_RETURN, WAY_BREAK, WAY_CONTINUE, WAY_GOTO };

__attribute__((noinline)) static int leave_early(enum way way, long *trail)
{
    volatile int value = 0;
    for (int i = 0; i < 3; i++) {
        __try {
            value = value + 5 + (int)way;
            if (way == WAY_RETURN)
                return value * 2;
            if (way == WAY_BREAK)
                break;
            if (way == WAY_CONTINUE)
                continue;
            if (way == WAY_GOTO)
                goto out;
            value = value + 100;
        } __finally {
            *trail = *trail * 1000 + value;
            (void)use_stack(2);
        }
        value = value + 200;
    }
out:
    return value + 1;
}

static void a_termination_block_runs_before_control_goes_on(void)
{
    static const struct {
        enum way way;
        int result;
        long trail;
    } ways[] = {{WAY_END, 916, 105410715},
                {WAY_RETURN, 12, 6},
                {WAY_BREAK, 8, 7},
                {WAY_CONTINUE, 25, 8016024},
                {WAY_GOTO, 10, 9}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        long trail = 0;
        CHECK(leave_early(ways[i].way, &trail) == ways[i].result);
        CHECK(trail == ways[i].trail);
    }
}

/* What is returned is computed before termination blocks run, and is still that behind them. */
__attribute__((noinline)) static double return_product(int k, char *trail)
{
    double product = k * 1.25;
    __try {
        __try {
            __try {
                if (k != 0)
                    return product * sum_of(k, k, k, k, k, k, k, k, k, k);
            } __finally {
                strcat(trail, "a");
                (void)use_stack(2);
            }
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            strcat(trail, "X");
        }
    } __finally {
        strcat(trail, "b");
        __try {
            RaiseException(1, 0, 0, NULL);
        } __except (EXCEPTION_EXECUTE_HANDLER) {
            strcat(trail, "c");
        }
    }
    strcat(trail, "e");
    return 0;
}

struct big {
    long values[20];
};

__attribute__((noinline)) static struct big return_big(int k)
{
    struct big big;
    for (int i = 0; i < 20; i++)
        big.values[i] = k + i;
    __try {
        if (k != 0)
            return big;
    } __finally {
        (void)use_stack(2);
    }
    big.values[0] = -1;
    return big;
}

static void what_is_returned_outlives_termination_blocks(void)
{
    char trail[20] = "";
    CHECK(return_product(3, trail) == 3 * 1.25 * 30);
    CHECK(strcmp(trail, "abc") == 0);
    trail[0] = '\0';
    CHECK(return_product(0, trail) == 0);
    CHECK(strcmp(trail, "abce") == 0);
    struct big big = return_big(5);
    for (int i = 0; i < 20; i++)
        CHECK(big.values[i] == 5 + i);
}

static void two_blocks_of_a_function_are_left(void)
{
    volatile int value = 0;
    __try {
        value = 1;
        if (value != 0)
            __leave;
        value = 9;
    } __finally {
        value = value + 10;
    }
    __try {
        value = value + 100;
        if (value != 0)
            __leave;
        value = 9;
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        value = -1;
    }
    CHECK(value == 111);
}

int main(void)
{
    a_filter_changes_a_frame_between();
    values_of_the_block_outlive_filters();
    a_filter_has_aligned_variables();
    vectors_outlive_filters();
    a_filter_has_parameters();
    a_filter_has_arrays_of_any_length();
    a_termination_block_runs_before_control_goes_on();
    what_is_returned_outlives_termination_blocks();
    two_blocks_of_a_function_are_left();
    return failures != 0;
}
