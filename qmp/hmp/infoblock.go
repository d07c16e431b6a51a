package hmp

// infoBlockCommands show block devices and jobs.
func infoBlockCommands() []*command {
	return []*command{
		{
			name: "block", args: "-n:nodes -v:verbose device:block?", params: "[-n] [-v] [device]", help: "show block devices; -n all nodes, -v more",
			needs: []string{"query-block"}, run: (*call).infoBlock,
		},
		show("query-blockstats", "blockstats", "", "", "show the statistics of block devices", (*call).infoBlockstats),
		show("query-block-jobs", "block-jobs", "", "", "show the block jobs", (*call).infoBlockJobs),
	}
}

// blockNode is what query-named-block-nodes says of a node.
type blockNode struct {
	File, Drv     string
	NodeName      *string `json:"node-name"`
	Ro, Encrypted bool
	Cache         struct {
		Writeback, Direct bool
		NoFlush           bool `json:"no-flush"`
	}
	Backing *string `json:"backing_file"`
	Depth   int64   `json:"backing_file_depth"`
	Zeroes  string  `json:"detect_zeroes"`
	Image   *image
	Group   string
	throttle
}

// throttle is a node's limits.
type throttle struct {
	BPS       int64 `json:"bps"`
	BPSRd     int64 `json:"bps_rd"`
	BPSWr     int64 `json:"bps_wr"`
	BPSMax    int64 `json:"bps_max"`
	BPSRdMax  int64 `json:"bps_rd_max"`
	BPSWrMax  int64 `json:"bps_wr_max"`
	IOPS      int64 `json:"iops"`
	IOPSRd    int64 `json:"iops_rd"`
	IOPSWr    int64 `json:"iops_wr"`
	IOPSMax   int64 `json:"iops_max"`
	IOPSRdMax int64 `json:"iops_rd_max"`
	IOPSWrMax int64 `json:"iops_wr_max"`
	IOPSSize  int64 `json:"iops_size"`
}

// image is what a node says of its file.
type image struct {
	Filename, Format string
	Virtual          int64  `json:"virtual-size"`
	Actual           *int64 `json:"actual-size"`
	Encrypted        *bool
	Dirty            *bool   `json:"dirty-flag"`
	Cluster          *int64  `json:"cluster-size"`
	Backing          *string `json:"backing-filename"`
	BackingFormat    *string `json:"backing-filename-format"`
	BackingImage     *image  `json:"backing-image"`
}

// blockDevice is what query-block says of a device.
type blockDevice struct {
	Device            string
	Qdev              *string
	Removable, Locked bool
	TrayOpen          bool    `json:"tray_open"`
	IOStatus          *string `json:"io-status"`
	Inserted          *blockNode
}

func (c *call) infoBlock() error {
	var devices []blockDevice
	device, printed := c.args.str("device"), false
	if !c.args.flag("nodes") {
		if err := c.query("query-block", nil, &devices); err != nil {
			return err
		}
	}
	for i, d := range devices {
		if c.args.has("device") && d.Device != device {
			continue
		}
		if i > 0 {
			c.printf("\n")
		}
		c.block(&d, d.Inserted)
		printed = true
	}
	if !c.args.has("device") && !c.args.flag("nodes") || printed || !c.m.caller.Has("query-named-block-nodes") {
		return nil
	}
	var nodes []blockNode
	err := c.query("query-named-block-nodes", nil, &nodes)
	for i, n := range nodes {
		if c.args.has("device") && *n.NodeName != device {
			continue
		}
		if i > 0 {
			c.printf("\n")
		}
		c.block(nil, &n)
	}
	return err
}

// block prints a device with what is in it, either of which may be nil.
func (c *call) block(d *blockDevice, n *blockNode) {
	c.printf("%s", blockTitle(d, n))
	if n == nil {
		c.printf(": [not inserted]\n")
	} else {
		c.printf(": %s (%s%s%s)\n", n.File, n.Drv, choose(n.Ro, ", read-only", ""), choose(n.Encrypted, ", encrypted", ""))
	}
	if d != nil {
		c.blockDevice(d)
	}
	if n != nil {
		c.blockNode(n)
	}
}

func blockTitle(d *blockDevice, n *blockNode) string {
	switch node := n != nil && n.NodeName != nil; {
	case d != nil && d.Device != "" && node:
		return d.Device + " (" + *n.NodeName + ")"
	case d != nil && d.Device != "":
		return d.Device
	case node:
		return *n.NodeName
	case d != nil && d.Qdev != nil:
		return *d.Qdev
	}
	return "<anonymous>"
}

func (c *call) blockDevice(d *blockDevice) {
	if d.Qdev != nil {
		c.printf("    Attached to:      %s\n", *d.Qdev)
	}
	if d.IOStatus != nil && *d.IOStatus != "ok" {
		c.printf("    I/O status:       %s\n", *d.IOStatus)
	}
	if d.Removable {
		c.printf("    Removable device: %slocked, tray %s\n", choose(d.Locked, "", "not "), choose(d.TrayOpen, "open", "closed"))
	}
}

func (c *call) blockNode(n *blockNode) {
	c.printf("    Cache mode:       %s%s%s\n", choose(n.Cache.Writeback, "writeback", "writethrough"),
		choose(n.Cache.Direct, ", direct", ""), choose(n.Cache.NoFlush, ", ignore flushes", ""))
	if n.Backing != nil {
		c.printf("    Backing file:     %s (chain depth: %d)\n", *n.Backing, n.Depth)
	}
	if n.Zeroes != "off" && n.Zeroes != "" {
		c.printf("    Detect zeroes:    %s\n", n.Zeroes)
	}
	if t := &n.throttle; t.BPS|t.BPSRd|t.BPSWr|t.IOPS|t.IOPSRd|t.IOPSWr != 0 {
		c.printf("    I/O throttling:   bps=%d bps_rd=%d bps_wr=%d bps_max=%d bps_rd_max=%d bps_wr_max=%d"+
			" iops=%d iops_rd=%d iops_wr=%d iops_max=%d iops_rd_max=%d iops_wr_max=%d iops_size=%d group=%s\n",
			t.BPS, t.BPSRd, t.BPSWr, t.BPSMax, t.BPSRdMax, t.BPSWrMax,
			t.IOPS, t.IOPSRd, t.IOPSWr, t.IOPSMax, t.IOPSRdMax, t.IOPSWrMax, t.IOPSSize, n.Group)
	}
	if c.args.flag("verbose") {
		c.printf("\nImages:\n")
		for i := n.Image; i != nil; i = i.BackingImage {
			c.image(i)
		}
	}
}

func (c *call) image(i *image) {
	c.printf("image: %s\nfile format: %s\nvirtual size: %s (%d bytes)\ndisk size: ", i.Filename, i.Format, human(i.Virtual), i.Virtual)
	if i.Actual != nil {
		c.printf("%s\n", human(*i.Actual))
	} else {
		c.printf("unavailable\n")
	}
	if i.Encrypted != nil && *i.Encrypted {
		c.printf("encrypted: yes\n")
	}
	if i.Cluster != nil {
		c.printf("cluster_size: %d\n", *i.Cluster)
	}
	if i.Dirty != nil && *i.Dirty {
		c.printf("cleanly shut down: no\n")
	}
	if i.Backing != nil {
		c.printf("backing file: %s\n", *i.Backing)
		if i.BackingFormat != nil {
			c.printf("backing file format: %s\n", *i.BackingFormat)
		}
	}
}

func (c *call) infoBlockstats() error {
	var list []struct {
		Device *string
		Stats  struct {
			RdBytes   int64 `json:"rd_bytes"`
			WrBytes   int64 `json:"wr_bytes"`
			Rd        int64 `json:"rd_operations"`
			Wr        int64 `json:"wr_operations"`
			Flush     int64 `json:"flush_operations"`
			WrTime    int64 `json:"wr_total_time_ns"`
			RdTime    int64 `json:"rd_total_time_ns"`
			FlushTime int64 `json:"flush_total_time_ns"`
			RdMerged  int64 `json:"rd_merged"`
			WrMerged  int64 `json:"wr_merged"`
			Idle      int64 `json:"idle_time_ns"`
		}
	}
	err := c.query("query-blockstats", nil, &list)
	for _, i := range list {
		if s := &i.Stats; i.Device != nil {
			c.printf("%s: rd_bytes=%d wr_bytes=%d rd_operations=%d wr_operations=%d flush_operations=%d"+
				" wr_total_time_ns=%d rd_total_time_ns=%d flush_total_time_ns=%d rd_merged=%d wr_merged=%d idle_time_ns=%d\n",
				*i.Device, s.RdBytes, s.WrBytes, s.Rd, s.Wr, s.Flush, s.WrTime, s.RdTime, s.FlushTime, s.RdMerged, s.WrMerged, s.Idle)
		}
	}
	return err
}

func (c *call) infoBlockJobs() error {
	var list []struct {
		Type, Device       string
		Len, Offset, Speed int64
	}
	if err := c.query("query-block-jobs", nil, &list); err != nil {
		return err
	}
	if len(list) == 0 {
		c.printf("No active jobs\n")
	}
	for _, j := range list {
		if j.Type == "stream" {
			c.printf("Streaming device %s", j.Device)
		} else {
			c.printf("Type %s, device %s", j.Type, j.Device)
		}
		c.printf(": Completed %d of %d bytes, speed limit %d bytes/s\n", j.Offset, j.Len, j.Speed)
	}
	return nil
}
