package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// tray waits until a tray has moved.
func (v *vm) tray(t testing.TB, device, id string, open bool) {
	t.Helper()
	var e qapi.DeviceTrayMovedEvent
	if err := e.DecodeQAPI(v.event(t, "DEVICE_TRAY_MOVED").Data); err != nil {
		t.Fatal(err)
	}
	if e.Device != device || e.Id != id || e.TrayOpen != open {
		t.Errorf("tray %+v", e)
	}
}

// drives returns what drives there are, as "id qdev removable tray filename".
func (v *vm) drives(t testing.TB) string {
	t.Helper()
	var all []string
	for _, b := range ask(t, v, qapi.CmdQueryBlock, qapi.Empty{}) {
		text := fmt.Sprintf("%s,%v", b.Device, b.Removable)
		if b.Qdev != nil {
			text += "," + *b.Qdev
		}
		if b.TrayOpen != nil {
			text += fmt.Sprintf(",open=%v", *b.TrayOpen)
		}
		if b.Inserted != nil {
			text += fmt.Sprintf(",%s,ro=%v", filepath.Base(b.Inserted.File), b.Inserted.Ro)
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// is fails the test unless the drives are these.
func (v *vm) is(t testing.TB, want string) {
	t.Helper()
	if got := v.drives(t); got != want {
		t.Errorf("drives %s\nnot    %s", got, want)
	}
}

// TestMedia exchanges media of CD drives and of drives that nobody has.
func TestMedia(t *testing.T) {
	dir := t.TempDir()
	image := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.Rename(hvrun.Image(t, dir, 1), path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, loose := image("a"), image("b"), image("loose")
	v := start(t, bare(t, "spin", "-device", "virtio-scsi-pci,id=s", "-drive", "if=none,id=cd0,media=cdrom,format=raw,file="+a,
		"-drive", "if=none,id=e", "-drive", "if=none,id=l,format=raw,file="+loose, "-device", "scsi-cd,id=qcd,drive=cd0", "-device", "scsi-cd")...)
	anonymous := " ,true,/machine/peripheral-anon/device[0],open=false"
	v.is(t, "cd0,true,qcd,open=false,a,ro=true e,true l,true,loose,ro=false"+anonymous)
	v.works(t, "blockdev-open-tray", `{"id":"qcd"}`)
	v.tray(t, "cd0", "qcd", true)
	v.works(t, "blockdev-open-tray", `{"id":"qcd"}`)
	v.is(t, "cd0,true,qcd,open=true,a,ro=true e,true l,true,loose,ro=false"+anonymous)
	v.works(t, "blockdev-remove-medium", `{"id":"qcd"}`)
	v.works(t, "blockdev-remove-medium", `{"id":"qcd"}`)
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"raw","node-name":"n","file":{"driver":"file","filename":%q}}`, b))
	v.works(t, "blockdev-insert-medium", `{"id":"qcd","node-name":"n"}`)
	v.failing(t, "Node 'f' not found", "blockdev-insert-medium", `{"id":"qcd","node-name":"f"}`)
	v.failing(t, "Node 'n' is already in use", "blockdev-insert-medium", `{"id":"qcd","node-name":"n"}`)
	v.works(t, "blockdev-close-tray", `{"id":"qcd"}`)
	v.tray(t, "cd0", "qcd", false)
	v.works(t, "blockdev-close-tray", `{"id":"qcd"}`)
	v.is(t, "cd0,true,qcd,open=false,b,ro=false e,true l,true,loose,ro=false"+anonymous)
	v.failing(t, "Tray of device 'qcd' is not open", "blockdev-remove-medium", `{"id":"qcd"}`)
	v.works(t, "blockdev-change-medium", fmt.Sprintf(`{"device":"cd0","filename":%q,"format":"raw","read-only-mode":"read-only"}`, a))
	v.tray(t, "cd0", "qcd", true)
	v.tray(t, "cd0", "qcd", false)
	v.is(t, "cd0,true,qcd,open=false,a,ro=true e,true l,true,loose,ro=false"+anonymous)
	v.failing(t, "Could not open '/none'", "blockdev-change-medium", `{"id":"qcd","filename":"/none","format":"raw"}`)
	v.works(t, "eject", `{"id":"/machine/peripheral/qcd","force":true}`)
	v.tray(t, "cd0", "qcd", true)
	v.works(t, "eject", `{"device":"l"}`)
	v.is(t, "cd0,true,qcd,open=true e,true l,true"+anonymous)
	v.works(t, "blockdev-change-medium", fmt.Sprintf(`{"device":"e","filename":%q,"format":"raw"}`, loose))
	v.is(t, "cd0,true,qcd,open=true e,true,loose,ro=false l,true"+anonymous)
	for _, name := range []string{"eject", "blockdev-open-tray", "blockdev-close-tray"} {
		v.failing(t, "Device 'x' not found", name, `{"id":"x"}`)
		v.failing(t, "Device 'x' not found", name, `{"device":"x"}`)
		v.failing(t, "Need exactly one of 'device' and 'id'", name, `{}`)
	}
	v.failing(t, "does not have a block device backend", "eject", `{"id":"s"}`)
}

// TestUnits adds disks to a bus while the guest runs, and takes them away.
func TestUnits(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 1)
	v := start(t, bare(t, "spin", "-device", "virtio-scsi-pci,id=s", "-drive", "if=none,id=empty")...)
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"raw","node-name":"n","file":{"driver":"file","filename":%q}}`, image))
	for range 3 {
		v.works(t, "device_add", `{"driver":"scsi-hd","id":"d","drive":"n","bus":"s.0","scsi-id":3,"lun":7}`)
		v.failing(t, "Node n is in use", "blockdev-del", `{"node-name":"n"}`)
		v.failing(t, "Device 'd' is not removable", "eject", `{"id":"d"}`)
		v.failing(t, "lun already used", "device_add", `{"driver":"scsi-cd","id":"e","scsi-id":3,"lun":7}`)
		v.works(t, "device_del", `{"id":"d"}`)
		v.deleted(t, "/machine/peripheral/d")
	}
	v.works(t, "blockdev-del", `{"node-name":"n"}`)
	v.failing(t, "drive property not set", "device_add", `{"driver":"scsi-hd"}`)
	v.failing(t, "Device needs media, but drive is empty", "device_add", `{"driver":"scsi-hd","drive":"empty"}`)
	v.failing(t, "Bus 't.0' not found", "device_add", `{"driver":"scsi-cd","bus":"t.0"}`)
	v.failing(t, "bad scsi device id: 256", "device_add", `{"driver":"scsi-cd","scsi-id":256}`)
	if got := v.human(t, "info qtree"); !strings.Contains(got, "dev: virtio-scsi-pci, id \"s\"") {
		t.Errorf("info qtree: %s", got)
	}
}

// TestDriveGone takes drives away that units use, as HMP's drive_del does: the units stay.
func TestDriveGone(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 8)
	v := start(t, bare(t, "spin", "-device", "virtio-scsi-pci,id=s", "-drive", "if=none,id=hd0,format=raw,node-name=n,file="+image,
		"-device", "scsi-hd,id=u,drive=hd0", "-drive", "if=none,id=e", "-device", "scsi-cd,id=c,drive=e")...)
	v.failing(t, "Node n is in use", "blockdev-del", `{"node-name":"n"}`)
	for _, id := range []string{"hd0", "e"} {
		if got := v.human(t, "drive_del "+id); got != "" {
			t.Errorf("%s: %s", id, got)
		}
		if got := v.human(t, "drive_del "+id); got != fmt.Sprintf("Error: Node '%s' not found\r\n", id) && !strings.Contains(got, "Failed to find node") {
			t.Errorf("%s again: %s", id, got)
		}
	}
	v.is(t, ",false,u ,true,c,open=false")
	v.works(t, "blockdev-add", fmt.Sprintf(`{"driver":"raw","node-name":"n","file":{"driver":"file","filename":%q}}`, image))
	v.works(t, "blockdev-del", `{"node-name":"n"}`)
	v.works(t, "device_del", `{"id":"c"}`)
	v.works(t, "device_del", `{"id":"u"}`)
	v.do(t, "quit")
	v.ends(t, 0)
}
