// SPDX-License-Identifier: MIT
// The header in C++, beside the library's own headers, with the macros of exceptions; the entry is wmain.
#define CAIRN_WIN32_SEH
#include <map>
#include <string>
#include <unistd.h>
#include <vector>
#include <windows.h>

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

int wmain(int argc, wchar_t **argv)
{
    char local;
    const bool named = argc == 2 && std::wstring(argv[1]) == L"w\u00efde";
    HANDLE heap = HeapCreate(0, 0, 0);
    std::vector<void *> blocks(10, HeapAlloc(heap, 0, 5));
    const bool sized = HeapSize(heap, 0, blocks[9]) == 5 && HeapDestroy(heap);
    return named && sized && guarded(&local) == 21 && guarded((volatile char *)64) == 110 ? 0 : 1;
}
