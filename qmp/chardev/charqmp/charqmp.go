// Package charqmp handles the QMP commands about character devices.
//
// chardev-add and chardev-change may wait for a client or a server and run on their
// client's goroutine, the other handlers on the VM's control goroutine. It depends on
// qmp/chardev, qmp/qapi and qmp/dispatch.
package charqmp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"hv/qmp/chardev"
	"hv/qmp/dispatch"
	"hv/qmp/qapi"
)

// Register adds the commands for a registry to a table. Backends that they make use
// host.
func Register(t *dispatch.Table, r *chardev.Registry, host chardev.Host) {
	registerBackends(t, r, host)
	registerRingbuf(t, r)
	dispatch.Register(t, qapi.CmdQueryChardev, func(context.Context, qapi.Empty) (qapi.ChardevInfoList, error) {
		list := qapi.ChardevInfoList{}
		for _, i := range r.List() {
			list = append(list, qapi.ChardevInfo{Label: i.Label, Filename: i.Filename, FrontendOpen: i.Open})
		}
		return list, nil
	})
	dispatch.Register(t, qapi.CmdQueryChardevBackends, func(context.Context, qapi.Empty) (qapi.ChardevBackendInfoList, error) {
		list := qapi.ChardevBackendInfoList{}
		for _, kind := range chardev.Backends() {
			list = append(list, qapi.ChardevBackendInfo{Name: string(kind)})
		}
		return list, nil
	})
	dispatch.Register(t, qapi.CmdChardevRemove, func(_ context.Context, a qapi.ChardevRemoveArgs) (qapi.Empty, error) {
		return qapi.Empty{}, r.Remove(a.Id)
	})
	dispatch.Register(t, qapi.CmdChardevSendBreak, func(_ context.Context, a qapi.ChardevSendBreakArgs) (qapi.Empty, error) {
		return qapi.Empty{}, r.SendBreak(a.Id)
	})
}

func registerBackends(t *dispatch.Table, r *chardev.Registry, host chardev.Host) {
	dispatch.Register(t, qapi.CmdChardevAdd, func(ctx context.Context, a qapi.ChardevAddArgs) (qapi.ChardevReturn, error) {
		if r.Has(a.Id) {
			return qapi.ChardevReturn{}, fmt.Errorf("Chardev with id '%s' already exists", a.Id)
		}
		o, err := chardev.FromQAPI(&a.Backend, host)
		if err != nil {
			return qapi.ChardevReturn{}, failed(a.Id, err)
		}
		b, err := r.Create(ctx, a.Id, o)
		if err != nil {
			return qapi.ChardevReturn{}, failed(a.Id, err)
		}
		return made(b), nil
	})
	dispatch.Register(t, qapi.CmdChardevChange, func(ctx context.Context, a qapi.ChardevChangeArgs) (qapi.ChardevReturn, error) {
		b, err := r.Change(a.Id, func() (chardev.Backend, error) {
			o, err := chardev.FromQAPI(&a.Backend, host)
			if err != nil {
				return nil, err
			}
			return chardev.Open(ctx, o)
		})
		if err != nil {
			return qapi.ChardevReturn{}, err
		}
		return made(b), nil
	})
}

func failed(id string, err error) error {
	return fmt.Errorf("Failed to add chardev '%s': %w", id, err)
}

// made describes a new backend.
func made(b chardev.Backend) qapi.ChardevReturn {
	if t, ok := b.(*chardev.Terminal); ok {
		return qapi.ChardevReturn{Pty: &t.Path}
	}
	return qapi.ChardevReturn{}
}

func registerRingbuf(t *dispatch.Table, r *chardev.Registry) {
	dispatch.Register(t, qapi.CmdRingbufWrite, func(_ context.Context, a qapi.RingbufWriteArgs) (qapi.Empty, error) {
		b, err := r.Ringbuf(a.Device)
		if err != nil {
			return qapi.Empty{}, err
		}
		data := []byte(a.Data)
		if inBase64(a.Format) {
			if data, err = decode(a.Data); err != nil {
				return qapi.Empty{}, err
			}
		}
		_, err = b.Write(data)
		return qapi.Empty{}, err
	})
	dispatch.Register(t, qapi.CmdRingbufRead, func(_ context.Context, a qapi.RingbufReadArgs) (qapi.Text, error) {
		b, err := r.Ringbuf(a.Device)
		if err != nil {
			return "", err
		}
		if a.Size <= 0 {
			return "", errors.New("size must be greater than zero")
		}
		data := b.Take(a.Size)
		if inBase64(a.Format) {
			return qapi.Text(base64.StdEncoding.EncodeToString(data)), nil
		}
		return qapi.Text(data), nil
	})
}

func inBase64(f *qapi.DataFormat) bool { return f != nil && *f == qapi.DataFormatBase64 }

// decode reads base64 as leniently as QEMU does: padding may be missing.
func decode(s string) ([]byte, error) {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return nil, errors.New("Base64 data contains invalid characters")
	}
	return b, nil
}
