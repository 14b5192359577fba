# SPDX-License-Identifier: MIT
# Writes the tables: awk -v style=terminal|page|plain -f samples.awk -f report.awk figures FILE.json

function cell(key) {
    if (!(key in median))
        return "-"
    if (count[key] == 1)
        return scaled(median[key], unit[sample_of(key)])
    return scaled(median[key], unit[sample_of(key)]) " (" scaled(best[key], unit[sample_of(key)]) ")"
}

function begin_table() {
    rows = columns = 0
    split("", table)
}

function add_row(line,    part, n, i) {
    n = split(line, part, "|")
    rows++
    if (n > columns)
        columns = n
    for (i = 1; i <= n; i++) {
        table[rows, i] = part[i]
        if (rows == 1 || length(part[i]) > width[i])
            width[i] = length(part[i])
    }
}

function print_table(    row, i, line) {
    for (row = 1; row <= rows; row++) {
        line = "|"
        for (i = 1; i <= columns; i++)
            line = line sprintf(" %-" width[i] "s |", table[row, i])
        print line
        if (row > 1)
            continue
        line = "|"
        for (i = 1; i <= columns; i++)
            line = line sprintf(" %s |", substr("----------------------------------------------------", 1, width[i]))
        print line
    }
    print ""
}

function holds(x, limit,    part) {
    split(limit, part, " ")
    return part[1] == "<=" ? x <= part[2] : x >= part[2]
}

function verdict(by_median, by_best, limit) {
    if (limit == "")
        return ""
    if (holds(by_median, limit) && holds(by_best, limit))
        return "yes"
    if (holds(by_median, limit) || holds(by_best, limit))
        return holds(by_best, limit) ? "by the best" : "by the median"
    return "no"
}

function limit_text(i) {
    if (target_limit[i] == "")
        return ""
    if (target_base[i] != "")
        return target_limit[i] "x"
    return target_limit[i] (target_ours[i] ~ /instructions/ ? "" : " " unit[sample_of(target_ours[i])])
}

function target_row(i,    ours, base, by_median, by_best, peer, line) {
    ours = target_ours[i]; base = target_base[i]
    if (!(ours in median) || (base != "" && !(base in median)))
        return
    by_median = median[ours]; by_best = best[ours]
    line = target_title[i] "|" cell(ours) "|"
    if (base == "") {
        line = line "||"
    } else {
        by_median = median[base] ? by_median / median[base] : 0
        by_best = best[base] ? by_best / best[base] : 0
        line = line (sample_of(base) == sample_of(ours) ? allocator_of(base) : base_name(ours, base)) " " cell(base)
        line = line sprintf("|%.2f (%.2f)|", by_median, by_best)
    }
    line = line limit_text(i) "|" verdict(by_median, by_best, target_limit[i]) "|"
    peer = best_peer(sample_of(ours))
    add_row(line (peer == "" ? "-" : allocator_of(peer) " " cell(peer)))
}

# Another figure of ours, by the part of its name that tells it from this one.
function base_name(ours, base,    part, own) {
    split(base, part, ":")
    split(ours, own, ":")
    return part[2] == own[2] ? part[3] : part[2]
}

function print_targets(    i) {
    begin_table()
    add_row("figure|cairn|compared with|ratio|target|reached|best peer")
    for (i = 1; i <= targets; i++)
        target_row(i)
    print_table()
}

function has_samples(name, sample_list, n,    i) {
    for (i = 1; i <= n; i++)
        if ((name ":" sample_list[i]) in median)
            return 1
    return 0
}

function print_family(name,    i, k, n, list, line) {
    begin_table()
    line = name
    for (i = 1; i <= shows; i++)
        if (show_family[i] == name && show_sample[i] in unit) {
            list[++n] = show_sample[i]
            line = line "|" show_title[i] (show_sample[i] ~ /instructions/ ? ", instructions" : "")
        }
    if (!n)
        return
    add_row(line)
    for (i = 1; i <= allocators; i++) {
        if (!has_samples(allocator[i], list, n))
            continue
        line = allocator[i] (is_peer(allocator[i]) || allocator[i] ~ /^cairn/ ? "" : " (floor)")
        for (k = 1; k <= n; k++)
            line = line "|" cell(allocator[i] ":" list[k])
        add_row(line)
    }
    if (style != "terminal")
        print "### " name "\n"
    if (style == "page")
        print "![" name "](performance-" name ".svg)\n"
    print_table()
}

END {
    read_all()
    for (i = 1; i <= abouts; i++)
        if (about[i] != "programs")
            printf "%s%s: %s\n", style == "terminal" ? "" : "- ", about[i], about_text[about[i]]
    print ""
    print "Each cell is the median and, in parentheses, the best sample.\n"
    print_targets()
    for (i = 1; i <= families; i++)
        print_family(family[i])
}
