package vmqmp

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hv/qmp/dispatch"
	"hv/qmp/qapi"
	"hv/qmp/wire"
)

func TestOptions(t *testing.T) {
	table := dispatch.NewTable()
	RegisterOptions(table, func(option *string) (qapi.CommandLineOptionInfoList, error) {
		if option == nil {
			return nil, errors.New("all are wanted")
		}
		return qapi.CommandLineOptionInfoList{{Option: *option}}, nil
	})
	for in, want := range map[string]string{
		`{'execute': 'query-command-line-options', 'arguments': {'option': 'rtc'}}`: `[{"parameters": [], "option": "rtc"}]`,
		`{'execute': 'query-command-line-options'}`:                                 `all are wanted`,
		`{'execute': 'query-command-line-options', 'arguments': {'option': 1}}`:     `Invalid parameter type for 'option', expected: string`,
	} {
		v, err := wire.Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		e := qapi.NewEncoder(false)
		r := table.Parse(v, dispatch.Client{Negotiated: true})
		if r.Run(context.Background(), e); !strings.Contains(string(e.Bytes()), want) {
			t.Errorf("%s: %s", in, e.Bytes())
		}
	}
}
