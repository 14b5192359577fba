# SPDX-License-Identifier: MIT
# Draws the picture of a family: awk -v drawn=NAME -f samples.awk -f plot.awk figures FILE.json
# Each column of the family's table is a panel, each allocator a bar: as long as the median, with a mark at the best.

function draw_style() {
    print "<style>"
    print "text { font: 12px system-ui, sans-serif; fill: #24292f }"
    print ".title { font-weight: 600 } .value { fill: #57606a }"
    print ".ours { fill: #1f6feb } .shared { fill: #1a7f5a } .peer { fill: #8c959f } .floor { fill: #d8dee4 }"
    print ".best { stroke: #24292f; stroke-width: 1.5 } .cut { stroke: #fff; stroke-width: 3 }"
    print "@media (prefers-color-scheme: dark) {"
    print "text { fill: #e6edf3 } .value { fill: #9198a1 }"
    print ".ours { fill: #58a6ff } .shared { fill: #3fb98a } .peer { fill: #656c76 } .floor { fill: #3d444d }"
    print ".best { stroke: #e6edf3 } .cut { stroke: #0d1117 }"
    print "}"
    print "</style>"
}

function class_of(name) {
    if (name == "cairn")
        return "ours"
    if (name == "cairn_shared")
        return "shared"
    return is_peer(name) ? "peer" : "floor"
}

# A peer that is many times slower would leave the others no length: it is cut at three times the longest that matters.
function longest(sample,    i, key, all, matters, peer) {
    for (i = 1; i <= allocators; i++) {
        key = allocator[i] ":" sample
        if (!(key in median))
            continue
        if (best[key] > all) # where more is better
            all = best[key]
        if (median[key] > all)
            all = median[key]
        if (!is_peer(allocator[i]) && median[key] > matters)
            matters = median[key]
    }
    peer = best_peer(sample)
    if (peer != "" && median[peer] > matters)
        matters = median[peer]
    return all > 3 * matters && matters > 0 ? 3 * matters : all
}

function draw_bar(x, y, name, key, most,    length_of, shown, at) {
    length_of = most > 0 ? median[key] / most * bar_width : 0
    if (length_of < 0)
        length_of = 0
    printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", x + name_width, y + 11, name
    at = x + name_width + 8
    shown = length_of > bar_width ? bar_width : length_of
    printf "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"13\" rx=\"1\"/>\n", \
        class_of(name), at, y, shown
    if (length_of > bar_width) {
        printf "<path class=\"cut\" d=\"M%.1f %dl6 -17\"/>\n", at + bar_width - 18, y + 15
        length_of = bar_width
    } else if (count[key] > 1 && most > 0) {
        printf "<path class=\"best\" d=\"M%.1f %dv13\"/>\n", at + best[key] / most * bar_width, y
        if (best[key] > median[key])
            length_of = best[key] / most * bar_width
    }
    printf "<text class=\"value\" x=\"%.1f\" y=\"%d\">%s</text>\n", \
        at + length_of + 6, y + 11, scaled(median[key], unit[sample_of(key)])
}

function draw_panel(x, y, i,    k, key, most) {
    printf "<text class=\"title\" x=\"%d\" y=\"%d\">%s%s</text>\n", x + name_width + 8, y + 12, show_title[i], \
        show_sample[i] ~ /instructions/ ? ", instructions" : more_is_better("-:" show_sample[i]) ? ", more is better" : ""
    most = longest(show_sample[i])
    y += 20
    for (k = 1; k <= allocators; k++) {
        key = allocator[k] ":" show_sample[i]
        if (key in median) {
            draw_bar(x, y, allocator[k], key, most)
            y += 18
        }
    }
}

function panel_height(i,    k, key, rows) {
    for (k = 1; k <= allocators; k++) {
        key = allocator[k] ":" show_sample[i]
        if (key in median)
            rows++
    }
    return 20 + 18 * rows + 14
}

END {
    read_all()
    name_width = 116; bar_width = 200; panel_width = 430
    for (i = 1; i <= shows; i++)
        if (show_family[i] == drawn && show_sample[i] in unit)
            panel[++panels] = i
    y = 8
    for (i = 1; i <= panels; i += 2) { # two in a row
        top[i] = y; top[i + 1] = y
        tallest = panel_height(panel[i])
        if (i < panels && panel_height(panel[i + 1]) > tallest)
            tallest = panel_height(panel[i + 1])
        y += tallest
    }
    all_width = (panels == 1 ? 1 : 2) * panel_width
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", \
        all_width, y, all_width, y
    print "<!-- SPDX-License-Identifier: MIT; drawn by bench/run -->"
    draw_style()
    for (i = 1; i <= panels; i++)
        draw_panel((i - 1) % 2 * panel_width, top[i], panel[i])
    print "</svg>"
}
