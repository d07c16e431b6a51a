package hmp

import "context"

// Requester is a Caller that can make requests of block devices, as QEMU's qemu-io does.
type Requester interface {
	// Request carries out a command such as "read 0 512". What it prints goes to the
	// process's output; failed says why there was nothing to do. device is a drive or node, or
	// with isDevice a device's id.
	Request(ctx context.Context, device string, isDevice bool, command string) (failed, err error)
}

// requestCommands make requests of block devices.
func requestCommands() []*command {
	return []*command{{
		name: "qemu-io", args: "-d:qdev device:block command:string", params: `[-d] [device] "[command]"`,
		help: "read from or write to a block device; -d if it is named by the id of a device", needs: []string{needsRequester},
		run: func(c *call) error {
			failed, err := c.m.caller.(Requester).Request(c.ctx, c.args.str("device"), c.args.flag("qdev"), c.args.str("command"))
			if failed != nil {
				c.printf("%s\n", failed)
			}
			return err
		},
	}}
}
