package hmp

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
)

// shelf is a Caller with drives.
type shelf struct{ drives, removed []string }

func (s *shelf) Has(command string) bool { return command == "blockdev-del" }

func (s *shelf) Call(_ context.Context, command string, args any) (json.RawMessage, error) {
	b, err := json.Marshal(args)
	s.removed = append(s.removed, command+string(b))
	return json.RawMessage("{}"), err
}

func (s *shelf) AddDrive(_ context.Context, options string) error {
	if options == "if=ide" {
		return errors.New("no")
	}
	s.drives = append(s.drives, options)
	return nil
}

func (s *shelf) RemoveDrive(_ context.Context, id string) (bool, error) {
	if id == "busy" {
		return true, errors.New("in use")
	}
	s.removed = append(s.removed, id)
	return id == "d0", nil
}

func TestDrives(t *testing.T) {
	s := &shelf{}
	m := New(s)
	for _, c := range [][2]string{
		{"drive_add 0 if=none,id=d0,file=a", "OK\r\n"}, {"drive_add 0:1 if=ide", "Error: no\r\n"},
		{"drive_del d0", ""}, {"drive_del busy", "Error: in use\r\n"}, {"drive_del node", ""},
	} {
		if got, err := m.Execute(t.Context(), c[0], nil); err != nil || got != c[1] {
			t.Errorf("%s: %q, %v, want %q", c[0], got, err, c[1])
		}
	}
	if len(s.drives) != 1 || s.drives[0] != "if=none,id=d0,file=a" {
		t.Errorf("%q", s.drives)
	}
	if len(s.removed) != 3 || s.removed[2] != `blockdev-del{"node-name":"node"}` {
		t.Errorf("%q", s.removed)
	}
}
