package arch

import (
	"go/ast"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sizes measures the repository against its budget.
type sizes struct {
	funcs, files, methods []int
	code, tests           int
}

func measure(t *testing.T) *sizes {
	s := &sizes{}
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			if !strings.HasSuffix(f, "_gen.go") {
				s.add(parse(t, filepath.Join(p.Dir, f)))
			}
		}
		for _, f := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			src := parse(t, filepath.Join(p.Dir, f))
			s.tests += lines(src, src.file)
		}
	}
	slices.Sort(s.funcs)
	slices.Sort(s.files)
	return s
}

func lines(src source, n ast.Node) int {
	return src.fset.Position(n.End()).Line - src.fset.Position(n.Pos()).Line + 1
}

func (s *sizes) add(src source) {
	n := lines(src, src.file)
	s.files = append(s.files, n)
	s.code += n
	ast.Inspect(src.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			s.funcs = append(s.funcs, lines(src, n))
		case *ast.InterfaceType:
			if n.Methods.NumFields() > 0 {
				s.methods = append(s.methods, n.Methods.NumFields())
			}
		}
		return true
	})
}

// share returns the part of sorted values that are at most limit.
func share(values []int, limit int) float64 {
	i, _ := slices.BinarySearch(values, limit+1)
	return float64(i) / float64(len(values))
}

func TestSizeBudget(t *testing.T) {
	s := measure(t)
	sum := 0
	for _, m := range s.methods {
		sum += m
	}
	for _, b := range []struct {
		what     string
		got, min float64
	}{
		{"functions of at most 10 lines", share(s.funcs, 10), 0.5},
		{"functions of at most 40 lines", share(s.funcs, 40), 0.9},
		{"functions of at most 60 lines", share(s.funcs, 60), 0.95},
		{"files of at most 450 lines", share(s.files, 450), 0.9},
		{"lines of test a line of code", float64(s.tests) / float64(s.code), 0.6},
		{"interfaces of at most four methods on average", 4 * float64(len(s.methods)) / float64(max(sum, 1)), 1},
	} {
		t.Logf("%-48s %.2f (at least %.2f)", b.what, b.got, b.min)
		if b.got < b.min {
			t.Errorf("%s: %.2f, at least %.2f wanted", b.what, b.got, b.min)
		}
	}
	t.Logf("%d lines of code in %d files, %d functions, %d lines of test", s.code, len(s.files), len(s.funcs), s.tests)
}
