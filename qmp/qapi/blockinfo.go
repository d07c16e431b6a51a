//qapi:schema

package qapi

// BlockdevCacheInfo is how a node uses caches.
type BlockdevCacheInfo struct {
	Writeback bool `qapi:"writeback"` // writes are durable after a flush only
	Direct    bool `qapi:"direct"`
	NoFlush   bool `qapi:"no-flush"`
}

// BlockDeviceInfo describes a node, and the limits of the disk that it is described for.
type BlockDeviceInfo struct {
	File             string                      `qapi:"file"`
	NodeName         *string                     `qapi:"node-name"`
	Ro               bool                        `qapi:"ro"`
	Drv              string                      `qapi:"drv"`
	BackingFile      *string                     `qapi:"backing_file"`
	BackingFileDepth int64                       `qapi:"backing_file_depth"`
	Encrypted        bool                        `qapi:"encrypted"`
	DetectZeroes     BlockdevDetectZeroesOptions `qapi:"detect_zeroes"`
	Bps              int64                       `qapi:"bps"`
	BpsRd            int64                       `qapi:"bps_rd"`
	BpsWr            int64                       `qapi:"bps_wr"`
	Iops             int64                       `qapi:"iops"`
	IopsRd           int64                       `qapi:"iops_rd"`
	IopsWr           int64                       `qapi:"iops_wr"`
	BpsMax           *int64                      `qapi:"bps_max"`
	BpsRdMax         *int64                      `qapi:"bps_rd_max"`
	BpsWrMax         *int64                      `qapi:"bps_wr_max"`
	IopsMax          *int64                      `qapi:"iops_max"`
	IopsRdMax        *int64                      `qapi:"iops_rd_max"`
	IopsWrMax        *int64                      `qapi:"iops_wr_max"`
	BpsMaxLength     *int64                      `qapi:"bps_max_length"`
	BpsRdMaxLength   *int64                      `qapi:"bps_rd_max_length"`
	BpsWrMaxLength   *int64                      `qapi:"bps_wr_max_length"`
	IopsMaxLength    *int64                      `qapi:"iops_max_length"`
	IopsRdMaxLength  *int64                      `qapi:"iops_rd_max_length"`
	IopsWrMaxLength  *int64                      `qapi:"iops_wr_max_length"`
	IopsSize         *int64                      `qapi:"iops_size"`
	Group            *string                     `qapi:"group"` // who has the same limits
	Image            ImageInfo                   `qapi:"image"`
	Cache            BlockdevCacheInfo           `qapi:"cache"`
	WriteThreshold   int64                       `qapi:"write_threshold"`
	DirtyBitmaps     BlockDirtyInfoList          `qapi:"dirty-bitmaps,optional"`
}

// BlockDeviceInfoList is a list of nodes.
type BlockDeviceInfoList []BlockDeviceInfo

// CmdQueryNamedBlockNodes lists the nodes, the newest first.
var CmdQueryNamedBlockNodes = Command[QueryNamedBlockNodesArgs, BlockDeviceInfoList]{Name: "query-named-block-nodes", Preconfig: true}

// QueryNamedBlockNodesArgs is the arguments of query-named-block-nodes.
type QueryNamedBlockNodesArgs struct {
	Flat *bool `qapi:"flat"` // without what lies below a node
}

// BlockDeviceIoStatus is whether a disk had errors.
type BlockDeviceIoStatus string

// The states.
const (
	BlockDeviceIoStatusOk      BlockDeviceIoStatus = "ok"      // none
	BlockDeviceIoStatusFailed  BlockDeviceIoStatus = "failed"  // one that stopped the VM
	BlockDeviceIoStatusNospace BlockDeviceIoStatus = "nospace" // one, because the medium is full
)

// BlockInfo describes a -drive, or a disk.
type BlockInfo struct {
	Device    string               `qapi:"device"` // id of the -drive, or empty
	Qdev      *string              `qapi:"qdev"`   // QOM path of the device
	Type      string               `qapi:"type"`
	Removable bool                 `qapi:"removable"`
	Locked    bool                 `qapi:"locked"`
	Inserted  *BlockDeviceInfo     `qapi:"inserted"`  // the medium
	TrayOpen  *bool                `qapi:"tray_open"` // of a drive with a tray
	IoStatus  *BlockDeviceIoStatus `qapi:"io-status"`
}

// BlockInfoList is a list of disks.
type BlockInfoList []BlockInfo

// CmdQueryBlock lists disks and drives.
var CmdQueryBlock = Command[Empty, BlockInfoList]{Name: "query-block", Preconfig: true}

// BlockDeviceTimedStats are statistics of the last seconds.
type BlockDeviceTimedStats struct {
	IntervalLength    int64   `qapi:"interval_length"`
	MinRdLatencyNs    int64   `qapi:"min_rd_latency_ns"`
	MaxRdLatencyNs    int64   `qapi:"max_rd_latency_ns"`
	AvgRdLatencyNs    int64   `qapi:"avg_rd_latency_ns"`
	MinWrLatencyNs    int64   `qapi:"min_wr_latency_ns"`
	MaxWrLatencyNs    int64   `qapi:"max_wr_latency_ns"`
	AvgWrLatencyNs    int64   `qapi:"avg_wr_latency_ns"`
	MinFlushLatencyNs int64   `qapi:"min_flush_latency_ns"`
	MaxFlushLatencyNs int64   `qapi:"max_flush_latency_ns"`
	AvgFlushLatencyNs int64   `qapi:"avg_flush_latency_ns"`
	AvgRdQueueDepth   float64 `qapi:"avg_rd_queue_depth"`
	AvgWrQueueDepth   float64 `qapi:"avg_wr_queue_depth"`
}

// BlockDeviceTimedStatsList is a list of statistics of intervals.
type BlockDeviceTimedStatsList []BlockDeviceTimedStats

// BlockDeviceStats is what was counted of a disk or node.
type BlockDeviceStats struct {
	RdBytes                int64                      `qapi:"rd_bytes"`
	WrBytes                int64                      `qapi:"wr_bytes"`
	UnmapBytes             int64                      `qapi:"unmap_bytes"`
	RdOperations           int64                      `qapi:"rd_operations"`
	WrOperations           int64                      `qapi:"wr_operations"`
	FlushOperations        int64                      `qapi:"flush_operations"`
	UnmapOperations        int64                      `qapi:"unmap_operations"`
	RdTotalTimeNs          int64                      `qapi:"rd_total_time_ns"`
	WrTotalTimeNs          int64                      `qapi:"wr_total_time_ns"`
	FlushTotalTimeNs       int64                      `qapi:"flush_total_time_ns"`
	UnmapTotalTimeNs       int64                      `qapi:"unmap_total_time_ns"`
	WrHighestOffset        int64                      `qapi:"wr_highest_offset"` // end of the furthest write
	RdMerged               int64                      `qapi:"rd_merged"`
	WrMerged               int64                      `qapi:"wr_merged"`
	UnmapMerged            int64                      `qapi:"unmap_merged"`
	IdleTimeNs             *int64                     `qapi:"idle_time_ns"` // since the last request
	FailedRdOperations     int64                      `qapi:"failed_rd_operations"`
	FailedWrOperations     int64                      `qapi:"failed_wr_operations"`
	FailedFlushOperations  int64                      `qapi:"failed_flush_operations"`
	FailedUnmapOperations  int64                      `qapi:"failed_unmap_operations"`
	InvalidRdOperations    int64                      `qapi:"invalid_rd_operations"`
	InvalidWrOperations    int64                      `qapi:"invalid_wr_operations"`
	InvalidFlushOperations int64                      `qapi:"invalid_flush_operations"`
	InvalidUnmapOperations int64                      `qapi:"invalid_unmap_operations"`
	AccountInvalid         bool                       `qapi:"account_invalid"`
	AccountFailed          bool                       `qapi:"account_failed"`
	TimedStats             BlockDeviceTimedStatsList  `qapi:"timed_stats"`
	RdLatencyHistogram     *BlockLatencyHistogramInfo `qapi:"rd_latency_histogram"`
	WrLatencyHistogram     *BlockLatencyHistogramInfo `qapi:"wr_latency_histogram"`
	FlushLatencyHistogram  *BlockLatencyHistogramInfo `qapi:"flush_latency_histogram"`
}

// BlockStats is the statistics of a disk or node.
type BlockStats struct {
	Device   *string          `qapi:"device"`
	Qdev     *string          `qapi:"qdev"`
	NodeName *string          `qapi:"node-name"`
	Stats    BlockDeviceStats `qapi:"stats"`
	Parent   *BlockStats      `qapi:"parent"` // what holds its data
	Backing  *BlockStats      `qapi:"backing"`
}

// BlockStatsList is a list of statistics.
type BlockStatsList []BlockStats

// CmdQueryBlockstats tells statistics of disks, or of nodes.
var CmdQueryBlockstats = Command[QueryBlockstatsArgs, BlockStatsList]{Name: "query-blockstats", Preconfig: true}

// QueryBlockstatsArgs is the arguments of query-blockstats.
type QueryBlockstatsArgs struct {
	QueryNodes *bool `qapi:"query-nodes"` // of nodes rather than disks
}
