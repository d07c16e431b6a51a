//qapi:schema

package qapi

// ThrottleLimits are limits of what may be read and written. What is not given stays as it is.
type ThrottleLimits struct {
	IopsTotal          *int64 `qapi:"iops-total"`            // requests of all kinds in a second, 0 for no limit
	IopsTotalMax       *int64 `qapi:"iops-total-max"`        // the same while there is a burst
	IopsTotalMaxLength *int64 `qapi:"iops-total-max-length"` // how many seconds a burst may take, 1 by default
	IopsRead           *int64 `qapi:"iops-read"`             // requests that read in a second, 0 for no limit
	IopsReadMax        *int64 `qapi:"iops-read-max"`         // the same while there is a burst
	IopsReadMaxLength  *int64 `qapi:"iops-read-max-length"`  // how many seconds a burst may take, 1 by default
	IopsWrite          *int64 `qapi:"iops-write"`            // requests that write in a second, 0 for no limit
	IopsWriteMax       *int64 `qapi:"iops-write-max"`        // the same while there is a burst
	IopsWriteMaxLength *int64 `qapi:"iops-write-max-length"` // how many seconds a burst may take, 1 by default
	BpsTotal           *int64 `qapi:"bps-total"`             // bytes read and written in a second, 0 for no limit
	BpsTotalMax        *int64 `qapi:"bps-total-max"`         // the same while there is a burst
	BpsTotalMaxLength  *int64 `qapi:"bps-total-max-length"`  // how many seconds a burst may take, 1 by default
	BpsRead            *int64 `qapi:"bps-read"`              // bytes read in a second, 0 for no limit
	BpsReadMax         *int64 `qapi:"bps-read-max"`          // the same while there is a burst
	BpsReadMaxLength   *int64 `qapi:"bps-read-max-length"`   // how many seconds a burst may take, 1 by default
	BpsWrite           *int64 `qapi:"bps-write"`             // bytes written in a second, 0 for no limit
	BpsWriteMax        *int64 `qapi:"bps-write-max"`         // the same while there is a burst
	BpsWriteMaxLength  *int64 `qapi:"bps-write-max-length"`  // how many seconds a burst may take, 1 by default
	IopsSize           *int64 `qapi:"iops-size"`             // bytes that count as one request, 0 if all requests do
}

// ThrottleGroupProperties are the properties of a throttle-group: limits that its members share.
type ThrottleGroupProperties struct {
	Limits              *ThrottleLimits `qapi:"limits"`                                   // read and set as a whole
	XIopsTotal          *int64          `qapi:"x-iops-total,feature=unstable"`            // as in limits; set before the group is there
	XIopsTotalMax       *int64          `qapi:"x-iops-total-max,feature=unstable"`        // as in limits; set before the group is there
	XIopsTotalMaxLength *int64          `qapi:"x-iops-total-max-length,feature=unstable"` // as in limits; set before the group is there
	XIopsRead           *int64          `qapi:"x-iops-read,feature=unstable"`             // as in limits; set before the group is there
	XIopsReadMax        *int64          `qapi:"x-iops-read-max,feature=unstable"`         // as in limits; set before the group is there
	XIopsReadMaxLength  *int64          `qapi:"x-iops-read-max-length,feature=unstable"`  // as in limits; set before the group is there
	XIopsWrite          *int64          `qapi:"x-iops-write,feature=unstable"`            // as in limits; set before the group is there
	XIopsWriteMax       *int64          `qapi:"x-iops-write-max,feature=unstable"`        // as in limits; set before the group is there
	XIopsWriteMaxLength *int64          `qapi:"x-iops-write-max-length,feature=unstable"` // as in limits; set before the group is there
	XBpsTotal           *int64          `qapi:"x-bps-total,feature=unstable"`             // as in limits; set before the group is there
	XBpsTotalMax        *int64          `qapi:"x-bps-total-max,feature=unstable"`         // as in limits; set before the group is there
	XBpsTotalMaxLength  *int64          `qapi:"x-bps-total-max-length,feature=unstable"`  // as in limits; set before the group is there
	XBpsRead            *int64          `qapi:"x-bps-read,feature=unstable"`              // as in limits; set before the group is there
	XBpsReadMax         *int64          `qapi:"x-bps-read-max,feature=unstable"`          // as in limits; set before the group is there
	XBpsReadMaxLength   *int64          `qapi:"x-bps-read-max-length,feature=unstable"`   // as in limits; set before the group is there
	XBpsWrite           *int64          `qapi:"x-bps-write,feature=unstable"`             // as in limits; set before the group is there
	XBpsWriteMax        *int64          `qapi:"x-bps-write-max,feature=unstable"`         // as in limits; set before the group is there
	XBpsWriteMaxLength  *int64          `qapi:"x-bps-write-max-length,feature=unstable"`  // as in limits; set before the group is there
	XIopsSize           *int64          `qapi:"x-iops-size,feature=unstable"`             // as in limits; set before the group is there
}

// BlockdevOptionsThrottle is the options of a node whose requests are held to limits.
type BlockdevOptionsThrottle struct {
	ThrottleGroup string      `qapi:"throttle-group"` // the object with the limits
	File          BlockdevRef `qapi:"file"`
}

// CmdBlockSetIOThrottle changes the limits of a disk.
var CmdBlockSetIOThrottle = Command[BlockIOThrottle, Empty]{Name: "block_set_io_throttle", Preconfig: true}

// BlockIOThrottle is the arguments of block_set_io_throttle: limits of a disk, which the
// others of its group have too. 0 is no limit.
type BlockIOThrottle struct {
	Device          *string `qapi:"device,feature=deprecated"` // id of a -drive
	Id              *string `qapi:"id"`                        // or id or QOM path of a device
	Bps             int64   `qapi:"bps"`                       // bytes a second, read and written
	BpsRd           int64   `qapi:"bps_rd"`                    // bytes a second, read
	BpsWr           int64   `qapi:"bps_wr"`                    // bytes a second, written
	Iops            int64   `qapi:"iops"`                      // requests a second, read and written
	IopsRd          int64   `qapi:"iops_rd"`                   // requests a second, read
	IopsWr          int64   `qapi:"iops_wr"`                   // requests a second, written
	BpsMax          *int64  `qapi:"bps_max"`                   // the same while there is a burst
	BpsRdMax        *int64  `qapi:"bps_rd_max"`                // the same while there is a burst
	BpsWrMax        *int64  `qapi:"bps_wr_max"`                // the same while there is a burst
	IopsMax         *int64  `qapi:"iops_max"`                  // the same while there is a burst
	IopsRdMax       *int64  `qapi:"iops_rd_max"`               // the same while there is a burst
	IopsWrMax       *int64  `qapi:"iops_wr_max"`               // the same while there is a burst
	BpsMaxLength    *int64  `qapi:"bps_max_length"`            // seconds that a burst may take, 1 by default
	BpsRdMaxLength  *int64  `qapi:"bps_rd_max_length"`         // seconds that a burst may take, 1 by default
	BpsWrMaxLength  *int64  `qapi:"bps_wr_max_length"`         // seconds that a burst may take, 1 by default
	IopsMaxLength   *int64  `qapi:"iops_max_length"`           // seconds that a burst may take, 1 by default
	IopsRdMaxLength *int64  `qapi:"iops_rd_max_length"`        // seconds that a burst may take, 1 by default
	IopsWrMaxLength *int64  `qapi:"iops_wr_max_length"`        // seconds that a burst may take, 1 by default
	IopsSize        *int64  `qapi:"iops_size"`                 // bytes that count as one request
	Group           *string `qapi:"group"`                     // who shares the limits; the disk alone by default
}
