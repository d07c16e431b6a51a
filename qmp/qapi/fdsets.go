//qapi:schema

package qapi

// CmdGetfd keeps the descriptor that comes with it under a name.
var CmdGetfd = Command[GetfdArgs, Empty]{Name: "getfd"}

// GetfdArgs is the arguments of getfd.
type GetfdArgs struct {
	Fdname string `qapi:"fdname"`
}

// CmdClosefd closes a descriptor that getfd keeps.
var CmdClosefd = Command[ClosefdArgs, Empty]{Name: "closefd"}

// ClosefdArgs is the arguments of closefd.
type ClosefdArgs struct {
	Fdname string `qapi:"fdname"`
}

// CmdAddFd puts the descriptor that comes with it into a set.
var CmdAddFd = Command[AddFdArgs, AddfdInfo]{Name: "add-fd"}

// AddFdArgs is the arguments of add-fd.
type AddFdArgs struct {
	FdsetId *int64  `qapi:"fdset-id"` // a new set if it is absent
	Opaque  *string `qapi:"opaque"`   // text to know the descriptor by
}

// AddfdInfo says where add-fd put a descriptor, and its number.
type AddfdInfo struct {
	FdsetId int64 `qapi:"fdset-id"`
	Fd      int64 `qapi:"fd"`
}

// CmdRemoveFd closes a descriptor of a set, or the whole set.
var CmdRemoveFd = Command[RemoveFdArgs, Empty]{Name: "remove-fd"}

// RemoveFdArgs is the arguments of remove-fd.
type RemoveFdArgs struct {
	FdsetId int64  `qapi:"fdset-id"`
	Fd      *int64 `qapi:"fd"` // all if it is absent
}

// FdsetFdInfo is a descriptor of a set.
type FdsetFdInfo struct {
	Fd     int64   `qapi:"fd"`
	Opaque *string `qapi:"opaque"` // as given to add-fd
}

// FdsetFdInfoList is the descriptors of a set.
type FdsetFdInfoList []FdsetFdInfo

// FdsetInfo is a set of descriptors.
type FdsetInfo struct {
	FdsetId int64           `qapi:"fdset-id"`
	Fds     FdsetFdInfoList `qapi:"fds"`
}

// FdsetInfoList is a list of sets.
type FdsetInfoList []FdsetInfo

// CmdQueryFdsets lists all sets.
var CmdQueryFdsets = Command[Empty, FdsetInfoList]{Name: "query-fdsets"}
