package formats

import (
	"errors"
	"fmt"

	"hv/block/filedrv"
	"hv/qmp/qapi"
)

// Creation is an image that is about to be made.
type Creation struct {
	// Run makes it, on any goroutine. It calls point often, and ends with its error.
	Run func(point func() error) error
	// Close gives up the nodes that it needed.
	Close func() error
}

// Create gets what it takes to make an image. What is wrong with the options, Run tells.
func (x *Opener) Create(o *qapi.BlockdevCreateOptions) (Creation, error) {
	switch o.Driver {
	case qapi.BlockdevDriverFile:
		return x.createFile(o.File), nil
	case qapi.BlockdevDriverQcow2:
		return x.createQcow2(o.Qcow2), nil
	}
	return Creation{}, errors.New("Driver does not support blockdev-create")
}

// failing is a creation that comes to nothing.
func failing(err error) Creation {
	return Creation{Run: func(func() error) error { return err }, Close: nothing}
}

func nothing() error { return nil }

func (x *Opener) createFile(o *qapi.BlockdevCreateOptionsFile) Creation {
	c := filedrv.Creation{Path: o.Filename, Size: o.Size, NoCOW: isSet(o.Nocow), OpenFile: x.OpenFile}
	if p := o.Preallocation; p != nil {
		switch *p {
		case qapi.PreallocModeFalloc:
			c.Preallocation = filedrv.Reserve
		case qapi.PreallocModeFull:
			c.Preallocation = filedrv.Fill
		case qapi.PreallocModeMetadata:
			return failing(fmt.Errorf("Unsupported preallocation mode '%s'", *p))
		}
	}
	return Creation{Run: func(point func() error) error { return filedrv.Create(c, point) }, Close: nothing}
}
