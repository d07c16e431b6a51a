package rxfilter

import (
	"errors"
	"fmt"
	"strings"
)

// Driver is a link as a Syncer uses it.
type Driver interface {
	// Read returns the link's state, or ErrGone.
	Read() (Host, error)
	// Apply carries out an operation. ErrPresent says that somebody else did it.
	Apply(Op) error
}

// ErrGone says that there is no such link any more.
var ErrGone = errors.New("the link is gone")

// ErrPresent says that a link has an address already.
var ErrPresent = errors.New("the link has the address already")

// Result says what came of a change.
type Result struct {
	Done   []Op
	Failed []Failure
	Lacks  []string // what the guest may have and the link can not do
}

// Failure is an operation that failed, and why.
type Failure struct {
	Op  Op
	Err error
}

// Err is nil if nothing failed.
func (r *Result) Err() error {
	if len(r.Failed) == 0 {
		return nil
	}
	errs := make([]error, len(r.Failed))
	for i, f := range r.Failed {
		errs[i] = fmt.Errorf("%s: %w", f.Op, f.Err)
	}
	return errors.Join(errs...)
}

// String lists what was done.
func (r *Result) String() string {
	words := make([]string, len(r.Done))
	for i, op := range r.Done {
		words[i] = op.String()
	}
	return strings.Join(words, ", ")
}

// Syncer has a link follow a guest under a policy. It remembers the link's state, so that
// a change costs its operations and no more; Refresh finds out what others did.
type Syncer struct {
	policy Policy
	link   Driver
	host   Host
	own    Owned
	want   Want
}

// NewSyncer reads the state of a link.
func NewSyncer(p Policy, link Driver) (*Syncer, error) {
	h, err := link.Read()
	if err != nil {
		return nil, err
	}
	return &Syncer{policy: p, link: link, host: h}, nil
}

// Host returns the link's state as it is known.
func (s *Syncer) Host() Host { return s.host }

// Sync has the link let through what a guest wants. What fails is tried again at the next
// call; the rest is done.
func (s *Syncer) Sync(g *Guest) Result {
	s.want = s.policy.Want(g)
	return s.apply()
}

// Refresh reads the link's state and repairs what others undid.
func (s *Syncer) Refresh() (Result, error) {
	h, err := s.link.Read()
	if err != nil {
		return Result{}, err
	}
	s.host = h
	s.own.keep(&h)
	return s.apply(), nil
}

// Drifted says that a link's address or flags are not those that are known.
func (s *Syncer) Drifted(n Notice) bool {
	return n.Lost || n.Gone || n.MAC != s.host.MAC || n.Promisc != s.host.Promisc || n.AllMulti != s.host.AllMulti ||
		n.Name != s.host.Name || n.Parent != s.host.Parent
}

// Release takes back what was added.
func (s *Syncer) Release() Result {
	s.want = Want{}
	return s.apply()
}

func (s *Syncer) apply() Result {
	ops, lacks := Diff(s.want, &s.host, &s.own)
	r := Result{Lacks: lacks}
	for _, op := range ops {
		err := s.link.Apply(op)
		switch {
		case errors.Is(err, ErrPresent):
			op.found(&s.host)
		case err != nil:
			r.Failed = append(r.Failed, Failure{op, err})
		default:
			op.done(&s.host, &s.own)
			r.Done = append(r.Done, op)
		}
	}
	return r
}
