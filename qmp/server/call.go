package server

import (
	"context"
	"encoding/json"
	"fmt"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

// Has tells whether there is a command.
func (s *Server) Has(command string) bool { return s.cfg.Table.Has(command) }

// Call runs a command for somebody in this process, where it would run for a client,
// and returns its result. args is anything that encoding/json writes as an object, nil
// for none. A failed command's error is a *qapi.Error. Within a handler ctx is the
// handler's, so that a command finds the client's session.
//
// The control goroutine must not call it.
func (s *Server) Call(ctx context.Context, command string, args any) (json.RawMessage, error) {
	if command == qapi.CmdQmpCapabilities.Name {
		return nil, fmt.Errorf("%s is for clients", command)
	}
	message := map[string]any{"execute": command}
	if args != nil {
		message["arguments"] = args
	}
	b, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("arguments of %s: %w", command, err)
	}
	v, err := wire.Parse(b)
	if err != nil {
		return nil, err
	}
	e := qapi.NewEncoder(false)
	req := s.cfg.Table.Parse(v, dispatch.Client{Negotiated: true})
	if req.Concurrent() {
		req.Run(ctx, e)
	} else if err := s.cfg.Exec.Do(ctx, func() { req.Run(ctx, e) }); err != nil {
		return nil, err
	}
	return parseReply(e.Bytes())
}

func parseReply(b []byte) (json.RawMessage, error) {
	var reply struct {
		Return json.RawMessage `json:"return"`
		Error  *struct {
			Class qapi.QapiErrorClass `json:"class"`
			Desc  string              `json:"desc"`
		} `json:"error"`
	}
	if err := json.Unmarshal(b, &reply); err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	if reply.Error != nil {
		return nil, qapi.Errorf(reply.Error.Class, "%s", reply.Error.Desc)
	}
	return reply.Return, nil
}

// Settle returns when the client whose command has the context ctx was sent the replies to
// its earlier ones. A handler that prints where the client may read, too, calls it first.
func Settle(ctx context.Context) {
	if s, ok := ctx.Value(sessionKey{}).(*session); ok {
		s.out.settle(ctx)
	}
}
