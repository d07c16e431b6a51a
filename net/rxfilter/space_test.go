package rxfilter

import (
	"testing"

	"hv/net/netspace"
)

// space is a network namespace of a test.
type space struct {
	*netspace.Space
	t testing.TB
}

func newSpace(t testing.TB) *space {
	t.Helper()
	return &space{netspace.New(t), t}
}

// open opens a link.
func (s *space) open(name string) *Link {
	s.t.Helper()
	var l *Link
	var err error
	s.Inside(func() { l, err = Open(name, nil) })
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(l.Close)
	return l
}
