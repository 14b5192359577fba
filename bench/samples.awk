# SPDX-License-Identifier: MIT
# Reads samples, and computes and writes what tables and pictures have in common. First of several -f; the files are
# figures and FILE.json.

function field(name,    text) { # of a sample, which stands on one line
    if (!match($0, "\"" name "\": *\"?[^\",}]*"))
        return ""
    text = substr($0, RSTART, RLENGTH)
    sub("\"" name "\": *\"?", "", text)
    return text
}

# ---- reading --------------------------------------------------------------------------------------------------------

FNR == NR {
    sub(/\r$/, "")
    if ($0 !~ /^(target|show)[|]/)
        next
    split($0, part, "|")
    if (part[1] == "target") {
        targets++
        target_title[targets] = part[3]; target_ours[targets] = part[4]
        target_base[targets] = part[5]; target_limit[targets] = part[6]
    } else {
        shows++
        show_family[shows] = part[2]; show_sample[shows] = part[3]; show_title[shows] = part[4]
        if (!(part[2] in family_seen)) {
            family_seen[part[2]] = 1
            family[++families] = part[2]
        }
    }
    next
}

/^\{"case"/ {
    key = field("allocator") ":" field("case") ":" field("metric")
    if (!(key in count) && !(field("allocator") in allocator_seen)) {
        allocator_seen[field("allocator")] = 1
        allocator[++allocators] = field("allocator")
    }
    value[key, ++count[key]] = field("value") + 0
    unit[field("case") ":" field("metric")] = field("unit")
    next
}

/^"[a-z ]+": "/ {
    name = $0; sub(/^"/, "", name); sub(/".*/, "", name)
    text = $0; sub(/^"[a-z ]+": "/, "", text); sub(/",?$/, "", text)
    about[++abouts] = name; about_text[name] = text
}

# ---- statistics -----------------------------------------------------------------------------------------------------

function sample_of(key) {
    sub(/^[^:]*:/, "", key)
    return key
}

function allocator_of(key) {
    sub(/:.*/, "", key)
    return key
}

function more_is_better(key) {
    return unit[sample_of(key)] == "M/s"
}

function sort(list, n,    i, k, held) {
    for (i = 2; i <= n; i++) {
        held = list[i]
        for (k = i - 1; k > 0 && list[k] > held; k--)
            list[k + 1] = list[k]
        list[k + 1] = held
    }
}

# Fills median and best. What the loop itself takes is no instruction of the allocator's.
function summarize(key,    n, i, sorted, less) {
    n = count[key]
    for (i = 1; i <= n; i++)
        sorted[i] = value[key, i]
    sort(sorted, n)
    if (key ~ /:instructions$/ && (("loop:" sample_of(key), 1) in value))
        less = value["loop:" sample_of(key), 1]
    median[key] = (n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2) - less
    best[key] = sorted[more_is_better(key) ? n : 1] - less
}

function is_peer(name) {
    return name !~ /^(cairn|cairn_shared|cairn_lockable|cairn_unserialized|cairn_linked|bump|lifo|loop|fallocate)$/
}

function best_peer(sample,    i, key, found) {
    for (i = 1; i <= allocators; i++) {
        key = allocator[i] ":" sample
        if (!is_peer(allocator[i]) || !(key in median))
            continue
        if (found == "" || (more_is_better(key) ? median[key] > median[found] : median[key] < median[found]))
            found = key
    }
    return found
}

# ---- common to tables and pictures ------------------------------------------------------------------------------------

function number(x,    size) {
    size = x < 0 ? -x : x
    if (size >= 10000)
        return sprintf("%.0f", x)
    return sprintf(size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : "%.2f", x)
}

# Times in the unit in which they are read most easily.
function scaled(x, name) {
    if (name == "ns" && x >= 1e6)
        return number(x / 1e6) " ms"
    if (name == "ns" && x >= 1e4)
        return number(x / 1e3) " us"
    if (name == "instructions")
        return sprintf("%.0f", x)
    return number(x) " " name
}

# In the order of the programs, whatever the order of the runs.
function order_allocators(    i, k, n, names, sorted) {
    n = split(about_text["programs"], names, " ")
    for (i = 1; i <= n; i++)
        if (names[i] in allocator_seen)
            sorted[++k] = names[i]
    for (i = 1; i <= k; i++)
        allocator[i] = sorted[i]
    allocators = k
}

function read_all(    key) {
    order_allocators()
    for (key in count)
        summarize(key)
}
