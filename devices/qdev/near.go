package qdev

import (
	"cmp"
	"slices"
	"strings"
)

// Near returns " (near: a, b)" with those of the known names that resemble
// name, the closest first, or "" when none does.
func Near(name string, known []string) string {
	type match struct {
		name string
		d    int
	}
	var found []match
	for _, k := range known {
		d := distance(strings.ToLower(name), strings.ToLower(k))
		switch {
		case len(name) >= 3 && strings.Contains(k, name):
			d = min(d, 2)
		case d > max(1, len(name)/3):
			continue
		}
		found = append(found, match{k, d})
	}
	if len(found) == 0 {
		return ""
	}
	slices.SortStableFunc(found, func(a, b match) int { return cmp.Compare(a.d, b.d) })
	var names []string
	for _, m := range found[:min(len(found), 4)] {
		names = append(names, m.name)
	}
	return " (near: " + strings.Join(names, ", ") + ")"
}

// distance is the number of single-character edits between two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			up := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(up+1, row[j]+1, diag+cost)
			diag = up
		}
	}
	return row[len(b)]
}
