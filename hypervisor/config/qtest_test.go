package config

import (
	"slices"
	"strings"
	"testing"
)

// TestAccelerators: what there is of those named, in their order.
func TestAccelerators(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "kvm",
		"-enable-kvm":                           "kvm",
		"-accel qtest":                          "qtest",
		"-accel kvm -accel tcg -accel qtest":    "kvm qtest",
		"-machine accel=kvm:tcg":                "kvm",
		"-machine accel=tcg:qtest":              "qtest",
		"-machine q35,accel=qtest -accel qtest": "qtest",
	} {
		if got := parse(t, line).Machine.Accels; !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q, wanted %q", line, got, want)
		}
	}
}

// TestLibqtest takes a command line as QEMU's libqtest writes it.
func TestLibqtest(t *testing.T) {
	c := parse(t, "-qtest unix:/tmp/q.sock -qtest-log /dev/null -chardev socket,path=/tmp/q.qmp,id=char0 -mon chardev=char0,mode=control "+
		"-display none -audio none -M q35 -machine smp.cpus=4,smp.cores=2 -rtc clock=vm -accel qtest")
	if c.QTest != (QTest{"qtest", "/dev/null"}) || len(c.Monitors) != 1 || c.SMP.CPUs != 4 || c.SMP.Cores != 2 || !c.RTC.VM {
		t.Errorf("%+v, %+v", c.QTest, c.SMP)
	}
	i := slices.IndexFunc(c.Chardevs, func(c Chardev) bool { return c.ID == "qtest" })
	if i < 0 {
		t.Fatalf("chardevs %+v", c.Chardevs)
	}
	if q := c.Chardevs[i].Backend.Socket.Data; q.Addr.Unix.Data.Path != "/tmp/q.sock" || *q.Server {
		t.Errorf("chardevs %+v", c.Chardevs)
	}
	if q := parse(t, "-chardev null,id=x -qtest chardev:x").QTest; q.Chardev != "x" {
		t.Errorf("%+v", q)
	}
	if q := parse(t, "-qtest none").QTest; q.Chardev != "" {
		t.Errorf("%+v", q)
	}
}

func TestQTestRefusals(t *testing.T) {
	for line, want := range map[string]string{
		"-qtest chardev:x":                "\"x\" not found",
		"-qtest telepathy":                "not a valid char driver",
		"-rtc clock=vm":                   "only available with -accel qtest",
		"-rtc clock=rt":                   "there are host and vm",
		"-machine accel=hvf":              "invalid accelerator 'hvf'",
		"-audio alsa":                     "'alsa' is not available",
		"-machine smp.cpus=3,smp.cores=2": "must be maxcpus",
		"-machine smp.wings=2":            "Invalid parameter 'wings'",
	} {
		if _, err := Parse(strings.Fields(line), testEnv()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q in it", line, err, want)
		}
	}
}
