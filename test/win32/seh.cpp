// SPDX-License-Identifier: MIT
// The header in C++, beside the library's own headers and in any order with them, with the macros of exceptions; the
// entry is wmain.
#define CAIRN_WIN32_SEH
#ifdef BEFORE
#include <windows.h>
#endif
#include <map>
#include <string>
#include <unistd.h>
#include <vector>
#ifndef BEHIND
#include <windows.h>
#endif
#include <deque>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>
#ifdef BEHIND
#include <windows.h>
#endif

static int failures;

static void check(bool holds, int line)
{
    if (!holds) {
        failures++;
        (void)!write(STDERR_FILENO, "seh.cpp failed at line ", 23);
        const std::string number = std::to_string(line) + "\n";
        (void)!write(STDERR_FILENO, number.data(), number.size());
    }
}
#define CHECK(condition) check((condition), __LINE__)

static int guarded(volatile char *address)
{
    volatile int result = 0;
    __try {
        __try {
            *address = 1;
            result = 1;
        } __finally {
            result = result + (AbnormalTermination() ? 10 : 20);
        }
    } __except (GetExceptionCode() == EXCEPTION_ACCESS_VIOLATION) {
        result = result + 100;
    }
    return result;
}

// Members, objects with destructors, and every way out of a block.
enum way { WAY_END, WAY_BREAK, WAY_CONTINUE, WAY_RETURN, WAY_LEAVE, WAY_RAISE };

class guard
{
    int code = 77;

  public:
    int go(enum way way) const
    {
        volatile int result = 0;
        for (int i = 0; i < 3; i++) {
            __try {
                std::string inside = "inside";
                if (way == WAY_BREAK)
                    break;
                if (way == WAY_CONTINUE)
                    continue;
                if (way == WAY_RETURN)
                    return 5 + static_cast<int>(inside.size());
                if (way == WAY_LEAVE)
                    __leave;
                if (way == WAY_RAISE)
                    RaiseException(77, 0, 0, nullptr);
                result = result + 1;
            } __except (GetExceptionCode() == static_cast<DWORD>(code)) {
                std::string inside = "handler";
                __try {
                    result = result + (GetExceptionCode() == 77 ? 100 : 0);
                } __finally {
                    result = result + 1000;
                }
                break;
            }
            result = result + 10;
        }
        return result;
    }
};

template <class Value> static Value raise_with(Value value)
{
    volatile Value result = 0;
    __try {
        result = value;
        RaiseException(3, 0, 0, nullptr);
    } __finally {
        result = result + 1;
    }
    return result;
}

static void throw_if(bool throws)
{
    if (throws)
        throw std::runtime_error("thrown");
}

// An exception of C++ passes through, and termination blocks run.
static std::string pass_through(bool throws)
{
    std::string trail;
    try {
        __try {
            __try {
                throw_if(throws);
                trail += 'n';
            } __except (EXCEPTION_EXECUTE_HANDLER) {
                trail += 'X';
            }
        } __finally {
            trail += AbnormalTermination() ? 'A' : 'N';
        }
    } catch (std::exception &) {
        trail += 'c';
    }
    return trail;
}

static volatile int from_lambda;

int wmain(int argc, wchar_t **argv)
{
    char local;
    CHECK(argc == 2 && std::wstring(argv[1]) == L"w\u00efde");
    HANDLE heap = HeapCreate(0, 0, 0);
    std::vector<void *> blocks(10, HeapAlloc(heap, 0, 5));
    CHECK(HeapSize(heap, 0, blocks[9]) == 5 && HeapDestroy(heap));

    CHECK(guarded(&local) == 21 && guarded((volatile char *)64) == 110);
    const guard one;
    CHECK(one.go(WAY_END) == 33 && one.go(WAY_BREAK) == 0 && one.go(WAY_CONTINUE) == 0);
    CHECK(one.go(WAY_RETURN) == 11 && one.go(WAY_LEAVE) == 30 && one.go(WAY_RAISE) == 1100);
    volatile long result = 0;
    __try {
        result = raise_with(5L);
    } __except (GetExceptionCode() == 3) {
        result = 9;
    }
    CHECK(result == 9);
    CHECK(pass_through(false) == "nN" && pass_through(true) == "Ac");
    const auto lambda = [&](bool returns) {
        __try {
            if (returns)
                return 5;
        } __finally {
            from_lambda = from_lambda + 1;
        }
        return 6;
    };
    CHECK(lambda(true) == 5 && lambda(false) == 6 && from_lambda == 2);
    CHECK(guarded((volatile char *)64) == 110); // no guard of before is in the way
    return failures != 0;
}
