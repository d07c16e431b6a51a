package qtestdrv

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"hv/qmp/qapi"
	"hv/test/hvrun"
)

// Sizes of requests to a SCSI adapter (virtio 1.2 §5.6.6.1).
const (
	scsiHead  = 51
	scsiReply = 108
	scsiData  = 4096
)

// answer is what a unit says: response, status, sense key and codes, and data.
type answer struct {
	what  string
	data  []byte
	moved int // bytes of data
}

// unit asks a unit of a machine.
func unit(d *Driver, bus *Virtio, target byte, cdb string, out []byte) answer {
	head := make([]byte, scsiHead)
	head[0], head[1], head[2] = 1, target, 0x40
	for i := 0; i+1 < len(cdb); i += 2 {
		_, _ = fmt.Sscanf(cdb[i:i+2], "%02x", &head[19+i/2])
	}
	d.Write(reqAt, head)
	d.Do("memset %#x %d 0", dataAt, scsiReply+scsiData)
	chain := []Buf{{reqAt, scsiHead, false}, {dataAt, scsiReply, true}, {dataAt + scsiReply, scsiData, true}}
	if out != nil {
		d.Write(reqAt+0x1000, out)
		chain = []Buf{{reqAt, scsiHead, false}, {reqAt + 0x1000, uint32(len(out)), false}, {dataAt, scsiReply, true}}
	}
	bus.Send(chain...)
	b := d.Read(dataAt, scsiReply+scsiData)
	what := fmt.Sprintf("response %d, status %d", b[11], b[10])
	if b[10] != 0 {
		what += fmt.Sprintf(", sense %x/%02x/%02x", b[12+2], b[12+12], b[12+13])
	}
	return answer{what, b[scsiReply:], scsiData - int(le.Uint32(b[4:]))}
}

// same are questions to which hv answers as QEMU does, with the data that goes with them.
var same = []struct {
	target byte
	cdb    string
	out    []byte
}{
	{0, "000000000000", nil}, {0, "000000000000", nil}, {1, "000000000000", nil}, {1, "000000000000", nil}, {2, "000000000000", nil}, {2, "000000000000", nil},
	{0, "120000002400", nil}, {1, "120000002400", nil}, {2, "120000002400", nil}, {3, "120000002400", nil},
	{0, "12010000ff00", nil}, {1, "12010000ff00", nil}, {0, "12018000ff00", nil}, {1, "12018000ff00", nil}, {0, "12018300ff00", nil}, {1, "12018300ff00", nil},
	{0, "1201b000ff00", nil}, {0, "1201b100ff00", nil}, {0, "1201b200ff00", nil}, {1, "1201b000ff00", nil}, {0, "1201ff00ff00", nil}, {0, "120001002400", nil},
	{0, "25000000000000000000", nil}, {1, "25000000000000000000", nil}, {2, "25000000000000000000", nil}, {0, "25000000000100000000", nil},
	{0, "9e100000000000000000000000200000", nil},
	{0, "a00000000000000001000000", nil}, {0, "1a000800ff00", nil}, {0, "1a080100ff00", nil}, {0, "5a080800000000010000", nil}, {0, "1a004800ff00", nil},
	{0, "1a00c800ff00", nil}, {0, "1a002a00ff00", nil}, {1, "1a002a00ff00", nil}, {1, "1a003f00ff00", nil}, {1, "1a004100ff00", nil},
	{1, "43000000000000032400", nil}, {1, "43020000000000032400", nil}, {1, "43000100000000032400", nil}, {1, "43020200000000032400", nil}, {1, "43000000000005032400", nil},
	{1, "46000000000000080000", nil}, {2, "46000000000000080000", nil}, {1, "51000000000000040000", nil}, {1, "51010000000000040000", nil}, {1, "bd0000000000000000080000", nil},
	{1, "ad00000000000000040000" + "00", nil}, {1, "ad000000000000ff0400" + "0000", nil}, {1, "4a010000100000000800", nil}, {1, "4a010000010000000800", nil}, {1, "4a000000100000000800", nil},
	{0, "28000000000000000800", nil}, {1, "28000000000000000200", nil}, {0, "2800000007ff00000200", nil}, {0, "28200000000000000100", nil}, {2, "28000000000000000100", nil},
	{0, "080000000100", nil}, {0, "2f000000000000000100", nil}, {0, "2b000000100000000000", nil}, {0, "35000000000000000000", nil},
	{0, "2a000000001000000100", bytes.Repeat([]byte{7}, 512)}, {0, "28000000001000000100", nil}, {1, "2a000000001000000100", bytes.Repeat([]byte{7}, 2048)},
	{0, "41000000002000000800", bytes.Repeat([]byte{9}, 512)}, {0, "28000000002000000800", nil}, {0, "41000000002000000000", bytes.Repeat([]byte{9}, 512)},
	{0, "42000000000000001800", append([]byte{0, 22, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 4}, 0, 0, 0, 0)}, {0, "28000000002000000800", nil},
	{0, "42010000000000001800", make([]byte, 24)}, {0, "42000000000000001800", append([]byte{0, 22, 0, 17}, make([]byte, 20)...)},
	{0, "151000001800", append([]byte{0, 0, 0, 0, 8, 18}, make([]byte, 18)...)}, {0, "1a080800ff00", nil}, {0, "151100001800", append([]byte{0, 0, 0, 0, 8, 18}, make([]byte, 18)...)},
	{1, "1e0000000100", nil}, {1, "1b0000000200", nil}, {1, "1e0000000000", nil}, {1, "1b0000000200", nil}, {1, "000000000000", nil}, {1, "4a010000100000000800", nil}, {1, "1b0000000300", nil}, {1, "000000000000", nil},
	{0, "d00000000000", nil}, {0, "1b0000000000", nil}, {5, "000000000000", nil},
}

// TestSCSIAnswers asks units of hv's and of QEMU's the same.
func TestSCSIAnswers(t *testing.T) {
	var all [2][]answer
	for i := range all {
		dir := t.TempDir()
		disk, cd := hvrun.Image(t, dir, 1), filepath.Join(dir, "cd")
		for path, size := range map[string]int{disk: 1 << 20, cd: 600 << 10} {
			if err := os.WriteFile(path, bytes.Repeat([]byte("0123456789abcdef"), size/16), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		args := []string{
			"-machine", "q35", "-nodefaults", "-device", "virtio-scsi-pci,addr=4.0,num_queues=1,id=s",
			"-drive", "if=none,id=d,format=raw,discard=unmap,file=" + disk, "-device", "scsi-hd,drive=d,serial=nr1,wwn=0x5000c50015ea71ac,port_index=2,rotation_rate=7200,scsi-id=0,physical_block_size=4096,discard_granularity=4096",
			"-drive", "if=none,id=c,format=raw,media=cdrom,file=" + cd, "-device", "scsi-cd,drive=c,scsi-id=1", "-device", "scsi-cd,scsi-id=2,product=empty", "-device", "scsi-cd,scsi-id=3,lun=1",
		}
		var d *Driver
		if i == 0 {
			d, _ = hv(t, args...)
		} else {
			d, _ = StartPeer(t, args...)
		}
		d.Function(4, 0).SetConfig(4, 2, 6)
		bus := NewVirtioQueue(d.Function(4, 0), barAt, 0, ringAt, 2)
		for _, q := range same {
			all[i] = append(all[i], unit(d, bus, q.target, q.cdb, q.out))
		}
	}
	for i, q := range same {
		ours, theirs := all[0][i], all[1][i]
		if ours.what != theirs.what {
			t.Errorf("unit %d, %s: %s, QEMU's %s", q.target, q.cdb, ours.what, theirs.what)
		} else if n := ours.moved; n > 0 && !bytes.Equal(ours.data[:n], theirs.data[:n]) { // QEMU may move more
			t.Errorf("unit %d, %s:\n%x\nQEMU's\n%x", q.target, q.cdb, ours.data[:n], theirs.data[:n])
		}
	}
}

// TestSCSIErrors lets a write fail, which stops the machine, until it goes on; and has the
// unit say what failed where that is the policy.
func TestSCSIErrors(t *testing.T) {
	image := hvrun.Image(t, t.TempDir(), 1)
	medium := "driver=raw,node-name=%s,file.driver=blkdebug,file.image.driver=file,file.image.filename=" + image +
		",file.image.locking=off,file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.errno=28,file.inject-error.0.once=on"
	d, _, c := withQMP(t, "-device", "virtio-scsi-pci,addr=4.0,id=s", "-blockdev", fmt.Sprintf(medium, "a"), "-blockdev", fmt.Sprintf(medium, "b"),
		"-device", "scsi-hd,drive=a,id=stops,share-rw=on,werror=stop", "-device", "scsi-hd,drive=b,id=tells,share-rw=on,werror=report")
	bus := NewVirtioQueue(d.Function(4, 0), barAt, 0, ringAt, 2)
	for target := range byte(2) {
		unit(d, bus, target, "000000000000", nil) // was switched on
	}
	block := bytes.Repeat([]byte{5}, 512)
	if got := unit(d, bus, 1, "2a000000000700000100", block).what; got != "response 0, status 2, sense 7/27/07" {
		t.Errorf("reported: %s", got)
	}
	if got := unit(d, bus, 1, "2a000000000700000100", block).what; got != "response 0, status 0" {
		t.Errorf("once more: %s", got)
	}
	states := make(chan qapi.RunState, 1)
	go func() {
		for e := range c.Events() {
			if e.Name == "STOP" {
				states <- call(t, c, qapi.CmdQueryStatus, qapi.Empty{}).Status
				call(t, c, qapi.CmdCont, qapi.Empty{})
				return
			}
		}
	}()
	if got := unit(d, bus, 0, "2a000000000900000100", block).what; got != "response 0, status 0" {
		t.Errorf("made again: %s", got)
	}
	if s := <-states; s != qapi.RunStateIoError {
		t.Errorf("the machine was %s", s)
	}
	if b, err := os.ReadFile(image); err != nil || !bytes.Equal(b[9*512:10*512], block) {
		t.Errorf("the image has not what was written: %v", err)
	}
}

// TestGuestMovesTray has the machine tell of a tray that its guest opens and closes.
func TestGuestMovesTray(t *testing.T) {
	d, _, c := withQMP(t, "-device", "virtio-scsi-pci,addr=4.0,id=s", "-device", "scsi-cd,id=cd")
	bus := NewVirtioQueue(d.Function(4, 0), barAt, 0, ringAt, 2)
	unit(d, bus, 0, "000000000000", nil) // was switched on
	for _, x := range []struct {
		cdb  string
		open bool
	}{{"1b0000000200", true}, {"1b0000000300", false}} {
		if got := unit(d, bus, 0, x.cdb, nil).what; got != "response 0, status 0" {
			t.Errorf("%s: %s", x.cdb, got)
		}
		for e := range c.Events() {
			if e.Name != "DEVICE_TRAY_MOVED" {
				continue
			}
			var moved qapi.DeviceTrayMovedEvent
			if err := moved.DecodeQAPI(e.Data); err != nil || moved.Id != "cd" || moved.TrayOpen != x.open {
				t.Errorf("%+v, %v", moved, err)
			}
			break
		}
	}
	call(t, c, qapi.CmdBlockdevOpenTray, qapi.BlockdevOpenTrayArgs{Id: new("cd")})
}
