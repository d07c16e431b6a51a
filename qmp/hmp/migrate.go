package hmp

import (
	"strings"
	"time"

	"hv/qmp/introspect"
)

// migrateCommands move the machine.
func migrateCommands() []*command {
	list := []*command{
		{
			name: "migrate", args: "-d:detach -b:blk -i:inc -r:resume uri:string", params: "[-d] [-b] [-i] [-r] uri",
			help:  "move the machine to uri; -d in the background, -b with its disks, -i with what their overlays hold, -r after an interruption",
			needs: []string{"migrate", "query-migrate"}, run: (*call).migrate,
		},
		on("migrate_cancel", "migrate_cancel", "", "", "give up a migration"),
		{
			name: "migrate_set_capability", args: "capability:string state:on", params: "capability state", help: "switch what migration may do",
			needs: []string{"migrate-set-capabilities"}, run: func(c *call) error {
				return c.query("migrate-set-capabilities", obj{"capabilities": []obj{obj(c.args)}}, nil)
			},
		},
		{
			name: "migrate_set_parameter", args: "parameter:string value:string", params: "parameter value", help: "change how migration is done",
			needs: []string{"migrate-set-parameters"}, run: (*call).setMigrateParameter, complete: completeParameter,
		},
		{
			name: "announce_self", args: "interfaces:string? id:string?", params: "[interfaces] [id]", help: "make switches learn where the guest's network devices are",
			needs: []string{"announce-self"}, run: (*call).announce,
		},
	}
	for _, m := range [][4]string{
		{"continue", "state:string", "state", "go on from a pause of a migration"},
		{"incoming", "uri:string", "uri", "wait for the machine to come from uri"},
		{"recover", "uri:string", "uri", "wait for an interrupted migration to go on from uri"},
		{"pause", "", "", "pause a migration"},
		{"start_postcopy", "", "", "let the machine run at its destination now"},
	} {
		qmp := "migrate-" + strings.ReplaceAll(m[0], "_", "-")
		list = append(list, &command{name: "migrate_" + m[0], args: m[1], params: m[2], help: m[3], needs: []string{qmp}, run: pass(qmp, nil)})
	}
	return list
}

// pollInterval is how often a migration in the foreground is looked at.
const pollInterval = 100 * time.Millisecond

func (c *call) migrate() error {
	args := obj{"uri": c.args.str("uri"), "blk": c.args.flag("blk"), "inc": c.args.flag("inc"), "resume": c.args.flag("resume")}
	if err := c.query("migrate", args, nil); err != nil || c.args.flag("detach") {
		return err
	}
	if c.history == nil {
		c.printf("terminal does not allow synchronous migration, continuing detached\n")
		return nil
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		var m struct {
			Status string
			Desc   string `json:"error-desc"`
		}
		if err := c.query("query-migrate", nil, &m); err != nil {
			return err
		}
		switch m.Status {
		case "", "setup", "active":
		default:
			if m.Desc != "" {
				c.printf("%s\n", m.Desc)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}

// setMigrateParameter gives the value the type that the parameter has now.
func (c *call) setMigrateParameter() error {
	name, value := c.args.str("parameter"), c.args.str("value")
	arg := any(value)
	var now members
	if c.m.caller.Has("query-migrate-parameters") && c.query("query-migrate-parameters", nil, &now) == nil {
		switch scalar(now[name]).(type) {
		case bool:
			arg = value == "on" || value == "yes" || value == "true"
		case int64:
			in := &scanner{s: value}
			n, err := int64(0), error(nil)
			if name == "max-bandwidth" {
				n, err = in.size()
			} else {
				n, err = introspect.Size(value)
			}
			if err != nil {
				return err
			}
			arg = n
		}
	}
	return c.query("migrate-set-parameters", obj{name: arg}, nil)
}

func (c *call) announce() error {
	args := obj{"initial": 50, "max": 550, "rounds": 5, "step": 100}
	if s := c.args.str("interfaces"); s != "" {
		args["interfaces"] = strings.Split(s, ",")
	}
	if c.args.has("id") {
		args["id"] = c.args.str("id")
	}
	return c.query("announce-self", args, nil)
}
