package peer

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// row is what was measured of one load, by who carried it out.
type row struct {
	name  string
	rates map[string][]float64
}

// table is what was measured, in requests a second.
type table struct {
	peer string
	rows []*row
}

func (t *table) row(name string) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	r := &row{name, map[string][]float64{}}
	t.rows = append(t.rows, r)
	return r
}

func (t *table) add(name, who string, rate float64) {
	r := t.row(name)
	r.rates[who] = append(r.rates[who], rate)
}

// ratio is ours to the peer's, of medians.
func (t *table) ratio(r *row) float64 { return median(r.rates["hv"]) / median(r.rates[t.peer]) }

// report prints the table, and the least and the median of the ratios.
func (t *table) report(b *testing.B) {
	b.Helper()
	var text strings.Builder
	var all []float64
	for _, r := range t.rows {
		all = append(all, t.ratio(r))
		fmt.Fprintf(&text, "\n| %s | %.0f /s | %.0f /s | %.2f |", r.name, median(r.rates["hv"]), median(r.rates[t.peer]), t.ratio(r))
	}
	// What a benchmark logs is cut off after some lines.
	fmt.Printf("\n| %s | hv | %s | ratio |%s\n", b.Name(), t.peer, text.String())
	least := all[0]
	for _, x := range all {
		least = min(least, x)
	}
	b.ReportMetric(least, "least-ratio")
	b.ReportMetric(median(all), "median-ratio")
}

// turns has both take turns, each the first as often as the other.
func turns(n int, who [2]string, f func(who string)) {
	for i := range n {
		f(who[i%2])
		f(who[1-i%2])
	}
}

// scratch makes a folder in dir.
func scratch(b *testing.B, dir string) string {
	b.Helper()
	dir, err := os.MkdirTemp(dir, "hv-bench")
	if err != nil {
		b.Fatal(err)
	}
	return dir
}
