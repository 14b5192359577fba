/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

struct text text_bytes(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    struct text result;
    unsigned unit = 0;

    while (value >= 1023.95 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    /* Whole numbers stay whole ("64 KiB"): most of ours are powers of two. */
    if (value >= 99.95 || value == (double)(uint64_t)value)
        snprintf(result.text, sizeof result.text, "%.0f %s", value, units[unit]);
    else
        snprintf(result.text, sizeof result.text, "%.1f %s", value, units[unit]);
    return result;
}

struct text text_count(uint64_t count)
{
    struct text digits, result;
    int length = snprintf(digits.text, sizeof digits.text, "%" PRIu64, count);
    char *to = result.text;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits.text[i];
    }
    *to = '\0';
    return result;
}

struct text text_rate(double count)
{
    struct text result;

    if (count >= 1e9)
        snprintf(result.text, sizeof result.text, "%.2f G", count / 1e9);
    else if (count >= 1e6)
        snprintf(result.text, sizeof result.text, "%.1f M", count / 1e6);
    else if (count >= 1e4)
        snprintf(result.text, sizeof result.text, "%.0f k", count / 1e3);
    else
        snprintf(result.text, sizeof result.text, "%.0f", count);
    return result;
}

struct text text_nanoseconds(uint64_t nanoseconds)
{
    struct text result;

    if (nanoseconds < 10000)
        snprintf(result.text, sizeof result.text, "%" PRIu64 " ns", nanoseconds);
    else if (nanoseconds < 10000000)
        snprintf(result.text, sizeof result.text, "%.1f us", (double)nanoseconds / 1e3);
    else
        snprintf(result.text, sizeof result.text, "%.1f ms", (double)nanoseconds / 1e6);
    return result;
}

const char *text_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

int text_name(FILE *file, const char *name)
{
    size_t left = strlen(name);
    mbstate_t state = {0};
    int columns = 0;

    while (left > 0) {
        wchar_t wide;
        size_t bytes = mbrtowc(&wide, name, left, &state);
        bool whole = bytes != (size_t)-1 && bytes != (size_t)-2;

        if (whole && iswprint((wint_t)wide)) {
            int width = wcwidth(wide);

            if (file)
                fwrite(name, 1, bytes, file);
            columns += width > 0 ? width : 0;
        } else {
            if (!whole) {
                bytes = 1;
                memset(&state, 0, sizeof state);
            }
            for (size_t i = 0; file && i < bytes; i++)
                fprintf(file, "\\x%02x", (unsigned char)name[i]);
            columns += 4 * (int)bytes;
        }
        name += bytes;
        left -= bytes;
    }
    return columns;
}

/* Returns how many bytes the UTF-8 sequence at text has, 0 when it is none: overlong forms and surrogates are none. */
static size_t utf8_length(const unsigned char *text)
{
    uint32_t point, smallest;
    size_t length;

    if (text[0] < 0x80)
        return 1;
    if ((text[0] & 0xe0) == 0xc0) {
        length = 2, point = text[0] & 0x1f, smallest = 0x80;
    } else if ((text[0] & 0xf0) == 0xe0) {
        length = 3, point = text[0] & 0x0f, smallest = 0x800;
    } else if ((text[0] & 0xf8) == 0xf0) {
        length = 4, point = text[0] & 0x07, smallest = 0x10000;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) /* also ends at the terminator */
            return 0;
        point = point << 6 | (text[i] & 0x3f);
    }
    if (point < smallest || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    return length;
}

/* Prints the next character of a text for JSON or XML, and returns what follows it. */
static const char *print_escaped(FILE *file, const char *text, bool xml)
{
    unsigned char byte = (unsigned char)*text;
    size_t length = utf8_length((const unsigned char *)text);

    if (length == 0) {
        fputs("\xef\xbf\xbd", file);
        return text + 1;
    }
    if (xml && byte < 0x20)
        fputs("\xef\xbf\xbd", file); /* XML 1.0 cannot hold control characters, not even escaped */
    else if (xml && (byte == '<' || byte == '>' || byte == '&' || byte == '"'))
        fprintf(file, "&#%d;", byte);
    else if (!xml && (byte < 0x20 || byte == 0x7f))
        fprintf(file, "\\u%04x", byte);
    else if (!xml && (byte == '"' || byte == '\\'))
        fprintf(file, "\\%c", byte);
    else
        fwrite(text, 1, length, file);
    return text + length;
}

void text_json(FILE *file, const char *text)
{
    fputc('"', file);
    while (*text)
        text = print_escaped(file, text, false);
    fputc('"', file);
}

void text_xml(FILE *file, const char *text)
{
    while (*text)
        text = print_escaped(file, text, true);
}

bool text_is_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool text_has_colour(void)
{
    const char *no_color = getenv("NO_COLOR");

    return text_is_terminal() && !(no_color && *no_color);
}

bool text_has_blocks(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void text_terminal_size(int *ret_columns, int *ret_lines)
{
    struct winsize size;

    *ret_columns = 80;
    *ret_lines = 24;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        *ret_columns = size.ws_col;
        *ret_lines = size.ws_row;
    }
}
