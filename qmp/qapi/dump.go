//qapi:schema

package qapi

// MemsaveArgs is the arguments of memsave.
type MemsaveArgs struct {
	Val      int64  `qapi:"val"` // linear address
	Size     int64  `qapi:"size"`
	Filename string `qapi:"filename"`
	CpuIndex *int64 `qapi:"cpu-index"` // whose page tables; the first one's if it is absent
}

// CmdMemsave writes memory at a linear address of a vCPU to a file.
var CmdMemsave = Command[MemsaveArgs, Empty]{Name: "memsave"}

// PmemsaveArgs is the arguments of pmemsave.
type PmemsaveArgs struct {
	Val      int64  `qapi:"val"` // guest-physical address
	Size     int64  `qapi:"size"`
	Filename string `qapi:"filename"`
}

// CmdPmemsave writes memory at a guest-physical address to a file.
var CmdPmemsave = Command[PmemsaveArgs, Empty]{Name: "pmemsave"}

// DumpGuestMemoryFormat is the format of a dump.
type DumpGuestMemoryFormat string

// The formats.
const (
	DumpGuestMemoryFormatElf         DumpGuestMemoryFormat = "elf"
	DumpGuestMemoryFormatKdumpZlib   DumpGuestMemoryFormat = "kdump-zlib"   // makedumpfile's, flattened
	DumpGuestMemoryFormatKdumpLzo    DumpGuestMemoryFormat = "kdump-lzo"    // the same with another compression
	DumpGuestMemoryFormatKdumpSnappy DumpGuestMemoryFormat = "kdump-snappy" // as well
	DumpGuestMemoryFormatWinDmp      DumpGuestMemoryFormat = "win-dmp"      // Windows's full dump
)

// DumpGuestMemoryFormatList is a list of formats.
type DumpGuestMemoryFormatList []DumpGuestMemoryFormat

// DumpGuestMemoryArgs is the arguments of dump-guest-memory.
type DumpGuestMemoryArgs struct {
	Paging   bool                   `qapi:"paging"`   // segments are what page tables map, not what RAM there is
	Protocol string                 `qapi:"protocol"` // file:PATH or fd:NAME
	Detach   *bool                  `qapi:"detach"`   // answer at once
	Begin    *int64                 `qapi:"begin"`    // of the memory that is wanted
	Length   *int64                 `qapi:"length"`   // comes with begin
	Format   *DumpGuestMemoryFormat `qapi:"format"`   // elf if it is absent
}

// CmdDumpGuestMemory writes the guest's memory and registers to a file. The VM stands
// still meanwhile.
var CmdDumpGuestMemory = Command[DumpGuestMemoryArgs, Empty]{Name: "dump-guest-memory", Concurrent: true}

// DumpStatus is what became of a dump.
type DumpStatus string

// The states.
const (
	DumpStatusNone      DumpStatus = "none"      // there was no dump yet
	DumpStatusActive    DumpStatus = "active"    // it is being written
	DumpStatusCompleted DumpStatus = "completed" // it is complete
	DumpStatusFailed    DumpStatus = "failed"    // it failed
)

// DumpQueryResult is the state of the last dump.
type DumpQueryResult struct {
	Status    DumpStatus `qapi:"status"`
	Completed int64      `qapi:"completed"` // bytes of memory written
	Total     int64      `qapi:"total"`     // bytes of memory in all
}

// CmdQueryDump returns the state of the last dump.
var CmdQueryDump = Command[Empty, DumpQueryResult]{Name: "query-dump"}

// EventDumpCompleted says that a dump ended.
var EventDumpCompleted = Event[DumpCompletedEvent]{Name: "DUMP_COMPLETED"}

// DumpCompletedEvent is the data of DUMP_COMPLETED.
type DumpCompletedEvent struct {
	Result DumpQueryResult `qapi:"result"`
	Error  *string         `qapi:"error"` // of a dump that failed
}

// DumpGuestMemoryCapability is what dumps there can be.
type DumpGuestMemoryCapability struct {
	Formats DumpGuestMemoryFormatList `qapi:"formats"`
}

// CmdQueryDumpGuestMemoryCapability returns the formats of dumps that there can be.
var CmdQueryDumpGuestMemoryCapability = Command[Empty, DumpGuestMemoryCapability]{Name: "query-dump-guest-memory-capability"}
