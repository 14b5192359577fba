/* SPDX-License-Identifier: MIT */
/*
 * probes: places where a tracer can look, by name and with two values: perf, bpftrace and SystemTap know them as
 * cairn:NAME. One that nobody looks at is an instruction that does nothing.
 */
#ifndef CAIRN_BASE_PROBES_SDT_H
#define CAIRN_BASE_PROBES_SDT_H

#include <sys/sdt.h>

#define PROBE(name, first, second) DTRACE_PROBE2(cairn, name, first, second)

#endif
