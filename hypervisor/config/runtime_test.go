package config

import (
	"strings"
	"testing"
)

func TestNewDrive(t *testing.T) {
	c := parse(t, "-nodefaults")
	d, err := c.NewDrive("if=none,id=d0,file=x,format=raw,readonly=on")
	if err != nil || d.ID != "d0" || d.File != "x" || !d.ReadOnly || d.Attach {
		t.Errorf("%+v, %v", d, err)
	}
	for text, want := range map[string]string{
		"file=x": "Can't hot-add drive to type virtio", "if=virtio,file=x": "Can't hot-add drive to type virtio",
		"if=none,file=x,cache=no": "invalid cache option", "=": "parameter name missing",
	} {
		if _, err := c.NewDrive(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if len(c.Drives) != 0 {
		t.Errorf("%d drives came to the configuration", len(c.Drives))
	}
}
