package hmp

import "context"

// Drives is a Caller that makes drives as -drive does, for which there is no QMP command.
type Drives interface {
	// AddDrive makes the drive that options describe.
	AddDrive(ctx context.Context, options string) error
	// RemoveDrive takes a drive away, and tells whether there was one.
	RemoveDrive(ctx context.Context, id string) (bool, error)
}

// driveCommands make and remove drives.
func driveCommands() []*command {
	return []*command{
		{
			name: "drive_add", args: "place:string options:string", params: "[[<domain>:]<bus>:]<slot> file=file[,id=id][,format=format]...",
			help: "add a drive that no device has yet; what is said of a slot means nothing", needs: []string{needsDrives}, run: func(c *call) error {
				err := c.m.caller.(Drives).AddDrive(c.ctx, c.args.str("options"))
				if err == nil {
					c.out.WriteString("OK\n")
				}
				return err
			},
		},
		{
			name: "drive_del", args: "id:block", params: "device", help: "remove a drive or a block node",
			needs: []string{"blockdev-del"}, run: (*call).removeDrive,
		},
	}
}

func (c *call) removeDrive() error {
	id := c.args.str("id")
	if d, ok := c.m.caller.(Drives); ok {
		if there, err := d.RemoveDrive(c.ctx, id); there || err != nil {
			return err
		}
	}
	return c.query("blockdev-del", obj{"node-name": id}, nil)
}
