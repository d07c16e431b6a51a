package hmp

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// blockCommands change block devices.
func blockCommands() []*command {
	list := []*command{
		on("block_resize", "block_resize", "device:block size:size", "device size", "change the size of a block device"),
		{
			name: "block_stream", args: "device:block speed:size? base:string?", params: "device [speed [base]]", help: "copy what lies in backing files into a device",
			needs: []string{"block-stream"}, run: func(c *call) error { return pass("block-stream", obj{"job-id": c.args.str("device")})(c) },
		},
		{
			name: "block_job_set_speed", args: "device:block speed:size", params: "device speed", help: "limit the speed of a device's job",
			needs: []string{"block-job-set-speed"}, run: pass("block-job-set-speed", nil),
		},
		{
			name: "block_job_cancel", args: "-f:force device:block", params: "[-f] device", help: "end a device's job; -f even if it is paused",
			needs: []string{"block-job-cancel"}, run: pass("block-job-cancel", obj{"force": false}),
		},
		on("eject", "eject", "-f:force device:block", "[-f] device", "take a removable medium out; -f even if the guest locked it"),
		{
			name: "change", args: "device:block -f:force filename:file format:string? read-only-mode:string?",
			params: "device [-f] filename [format [read-only-mode]]", help: "put another medium into a device",
			needs: []string{"blockdev-change-medium"}, run: pass("blockdev-change-medium", obj{"force": false}),
		},
		{
			name: "drive_mirror", args: "-n:reuse -f:full device:block target:string format:string?", params: "[-n] [-f] device target [format]",
			help: "begin to mirror a device; -n to an existing image, -f all of it", needs: []string{"drive-mirror"}, run: copyDrive("drive-mirror"),
		},
		{
			name: "drive_backup", args: "-n:reuse -f:full -c:compress device:block target:string format:string?", params: "[-n] [-f] [-c] device target [format]",
			help: "begin a copy of a device as it is now; -n to an existing image, -f all of it, -c compressed", needs: []string{"drive-backup"}, run: copyDrive("drive-backup"),
		},
		{
			name: "snapshot_blkdev", args: "-n:reuse device:block snapshot-file:string? format:string?", params: "[-n] device [new-image-file] [format]",
			help: "write to a new overlay from now on; -n to an existing image", needs: []string{"blockdev-snapshot-sync"}, run: (*call).snapshot,
		},
		{
			name: "snapshot_blkdev_internal", args: "device:block name:string", params: "device name", help: "make a snapshot within an image",
			needs: []string{"blockdev-snapshot-internal-sync"}, run: pass("blockdev-snapshot-internal-sync", nil),
		},
		{
			name: "snapshot_delete_blkdev_internal", args: "device:block name:string id:string?", params: "device name [id]", help: "delete a snapshot within an image",
			needs: []string{"blockdev-snapshot-delete-internal-sync"}, run: pass("blockdev-snapshot-delete-internal-sync", nil),
		},
		{
			name: "block_set_io_throttle", args: "device:block bps:long bps_rd:long bps_wr:long iops:long iops_rd:long iops_wr:long",
			params: "device bps bps_rd bps_wr iops iops_rd iops_wr", help: "limit a device's bytes and operations a second",
			needs: []string{"block_set_io_throttle", "query-block"}, run: (*call).throttle,
		},
	}
	for _, job := range []string{"complete", "pause", "resume"} {
		list = append(list, &command{
			name: "block_job_" + job, args: "device:block", params: "device", help: job + " a device's job",
			needs: []string{"block-job-" + job}, run: pass("block-job-"+job, nil),
		})
	}
	return append(list, nbdCommands()...)
}

// imageMode is whether an image is made or there already.
func (c *call) imageMode() string {
	return choose(c.args.flag("reuse"), "existing", "absolute-paths")
}

func copyDrive(command string) func(*call) error {
	return func(c *call) error {
		args := obj{
			"device": c.args.str("device"), "target": c.args.str("target"), "mode": c.imageMode(), "sync": choose(c.args.flag("full"), "full", "top"),
		}
		if c.args.has("format") {
			args["format"] = c.args.str("format")
		}
		if c.args.flag("compress") {
			args["compress"] = true
		}
		return c.query(command, args, nil)
	}
}

func (c *call) snapshot() error {
	args := obj{"device": c.args.str("device"), "snapshot-file": c.args.str("snapshot-file"), "mode": c.imageMode()}
	if !c.args.has("snapshot-file") {
		return errors.New("Parameter 'snapshot-file' is missing") //nolint:staticcheck // QEMU's words
	}
	if c.args.has("format") {
		args["format"] = c.args.str("format")
	}
	return c.query("blockdev-snapshot-sync", args, nil)
}

// throttle names the device as QMP wants it: by its drive, or else by itself.
func (c *call) throttle() error {
	args := obj{}
	for k, v := range c.args {
		args[k] = v
	}
	var list []blockDevice
	if err := c.query("query-block", nil, &list); err != nil {
		return err
	}
	name := c.args.str("device")
	for _, d := range list {
		if d.Device == name {
			return c.query("block_set_io_throttle", args, nil)
		}
	}
	delete(args, "device")
	args["id"] = name
	return c.query("block_set_io_throttle", args, nil)
}

func nbdCommands() []*command {
	return []*command{
		{
			name: "nbd_server_start", args: "-a:all -w:writable uri:string", params: "nbd_server_start [-a] [-w] host:port",
			help: "serve block devices over NBD; -a all of them, -w to be written too", needs: []string{"nbd-server-start", "nbd-server-add", "nbd-server-stop", "query-block"}, run: (*call).startNBD,
		},
		{
			name: "nbd_server_add", args: "-w:writable device:block name:string?", params: "nbd_server_add [-w] device [name]", help: "serve one more block device; -w to be written too",
			needs: []string{"nbd-server-add"}, run: pass("nbd-server-add", obj{"writable": false}),
		},
		{
			name: "nbd_server_remove", args: "-f:force name:string", params: "nbd_server_remove [-f] name", help: "serve a block device no longer; -f even to who uses it",
			needs: []string{"nbd-server-remove"}, run: func(c *call) error {
				args := obj{"name": c.args.str("name")}
				if c.args.flag("force") {
					args["mode"] = "hard"
				}
				return c.query("nbd-server-remove", args, nil)
			},
		},
		{name: "nbd_server_stop", params: "nbd_server_stop", help: "serve nothing over NBD any longer", needs: []string{"nbd-server-stop"}, run: pass("nbd-server-stop", nil)},
	}
}

func (c *call) startNBD() error {
	all, writable := c.args.flag("all"), c.args.flag("writable")
	if writable && !all {
		return errors.New("-w only valid together with -a")
	}
	addr, err := socketAddress(c.args.str("uri"))
	if err != nil {
		return err
	}
	if err := c.query("nbd-server-start", obj{"addr": addr}, nil); err != nil || !all {
		return err
	}
	var list []blockDevice
	if err := c.query("query-block", nil, &list); err != nil {
		return err
	}
	for _, d := range list {
		if d.Inserted == nil {
			continue
		}
		if err := c.query("nbd-server-add", obj{"device": d.Device, "writable": writable}, nil); err != nil {
			return errors.Join(err, c.query("nbd-server-stop", nil, nil))
		}
	}
	return nil
}

// socketAddress reads "unix:PATH", "fd:NAME", "vsock:CID:PORT" or "[tcp:]HOST:PORT".
func socketAddress(s string) (obj, error) {
	if p, ok := strings.CutPrefix(s, "unix:"); ok {
		return obj{"type": "unix", "data": obj{"path": p}}, nil
	}
	if fd, ok := strings.CutPrefix(s, "fd:"); ok {
		return obj{"type": "fd", "data": obj{"str": fd}}, nil
	}
	kind, host, port := "inet", "host", "port"
	if v, ok := strings.CutPrefix(s, "vsock:"); ok {
		kind, host, s = "vsock", "cid", v
	}
	s = strings.TrimPrefix(s, "tcp:")
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return nil, fmt.Errorf("error parsing address '%s'", s)
	}
	return obj{"type": kind, "data": obj{host: strings.Trim(s[:i], "[]"), port: s[i+1:]}}, nil
}

// human prints a size with three digits and a unit.
func human(n int64) string {
	units := [...]string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	_, exp := math.Frexp(float64(n) * 1.024) // so that 1000 is of the next unit
	i := max((exp-1)/10, 0)
	return fmt.Sprintf("%.3g %sB", math.Ldexp(float64(n), -10*i), units[i])
}
