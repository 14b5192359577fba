/* SPDX-License-Identifier: MIT */
/* A program for either kind of text, as Windows programs are: compiled with UNICODE and without, as C and as C++. */
#include <windows.h>

#include <stdio.h>

#define BYTES 256

static int share(void)
{
    static const TCHAR name[] = TEXT("Local\\") TEXT("text");
    LPCTSTR same = name;
    static const char message[] = "from one to another";
    HANDLE one = CreateFileMapping(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, BYTES, name);
    HANDLE other = OpenFileMapping(FILE_MAP_READ, FALSE, same);
    HANDLE narrow = OpenFileMappingA(FILE_MAP_READ, FALSE, "text");
    if (one == NULL || other == NULL || narrow == NULL)
        return 1;
    char *to = (char *)MapViewOfFile(one, FILE_MAP_ALL_ACCESS, 0, 0, BYTES);
    const char *from = (const char *)MapViewOfFile(other, FILE_MAP_READ, 0, 0, BYTES);
    if (to == NULL || from == NULL)
        return 2;
    FillMemory(to, BYTES, 'x');
    CopyMemory(to, message, sizeof message);
    if (memcmp(from, message, sizeof message) != 0 || from[sizeof message] != 'x')
        return 3;
    MoveMemory(to + 1, to, sizeof message);
    if (memcmp(from + 1, message, sizeof message) != 0)
        return 4;
    ZeroMemory(to, 10);
    if (from[9] != 0 || from[10] != message[9])
        return 5;
    return UnmapViewOfFile(to) && UnmapViewOfFile(from) && CloseHandle(one) && CloseHandle(other) && CloseHandle(narrow)
               ? 0
               : 6;
}

int main(void)
{
    int at = share();
    if (at != 0)
        (void)fprintf(stderr, "text.c failed at %d, error %u\n", at, (unsigned)GetLastError());
    return at;
}
