package hmp

import (
	"encoding/json"
	"fmt"
	"strings"
)

// infoStatsCommands show statistics.
func infoStatsCommands() []*command {
	return []*command{{
		name: "stats", args: "target:string names:string? provider:string?", params: "target [names] [provider]",
		help: "show the statistics of the vm or of a vcpu; names is a list with commas, or *", needs: []string{"query-stats", "query-stats-schemas", "query-cpus-fast"},
		run: (*call).infoStats, complete: oneOf("vm", "vcpu"),
	}}
}

// statsValue is how a statistic is to be read.
type statsValue struct {
	Name, Type string
	Unit       *string
	Base       int
	Exponent   int
	Bucket     *int `json:"bucket-size"`
}

// statsResult is what one provider says of one object.
type statsResult struct {
	Provider string
	Stats    []struct {
		Name  string
		Value json.RawMessage
	}
}

func (c *call) infoStats() error {
	if err := c.stats(); err != nil {
		c.printf("%s\n", err)
	}
	return nil
}

func (c *call) stats() error {
	target, provider := c.args.str("target"), c.args.str("provider")
	if target != "vm" && target != "vcpu" {
		return fmt.Errorf("invalid stats target %s", target)
	}
	if c.args.has("provider") && provider != "kvm" {
		return fmt.Errorf("invalid stats provider %s", provider)
	}
	var schemas []struct {
		Provider, Target string
		Stats            []statsValue
	}
	args := obj{}
	if c.args.has("provider") {
		args["provider"] = provider
	}
	if err := c.query("query-stats-schemas", args, &schemas); err != nil {
		return err
	}
	var results []statsResult
	if err := c.query("query-stats", c.statsFilter(target), &results); err != nil {
		return err
	}
	for _, r := range results {
		schema := map[string]statsValue{}
		for _, s := range schemas {
			for _, v := range s.Stats {
				if s.Provider == r.Provider && s.Target == target {
					schema[v.Name] = v
				}
			}
		}
		c.statsResult(r, schema)
	}
	return nil
}

func (c *call) statsFilter(target string) obj {
	filter := obj{"target": target}
	if target == "vcpu" {
		for _, cpu := range c.cpus() {
			if int(cpu.Index) == c.cpu {
				filter["vcpus"] = []string{cpu.Path}
			}
		}
	}
	if c.args.has("names") || c.args.has("provider") {
		request := obj{"provider": "kvm"}
		if n := c.args.str("names"); n != "" && n != "*" {
			request["names"] = strings.Split(n, ",")
		}
		filter["providers"] = []obj{request}
	}
	return filter
}

func (c *call) statsResult(r statsResult, schema map[string]statsValue) {
	if len(schema) == 0 {
		c.printf("failed to find schema list for %s\n", r.Provider)
		return
	}
	if !c.args.has("provider") {
		c.printf("provider: %s\n", r.Provider)
	}
	for _, s := range r.Stats {
		v, ok := schema[s.Name]
		if !ok {
			c.printf("failed to find schema entry for %s\n", s.Name)
			return
		}
		c.printf("    %s (%s): %s\n", v.Name, v.describe(), statsNumber(s.Value))
	}
}

// describe tells a statistic's type and unit.
func (v *statsValue) describe() string {
	text := v.Type
	unit := ""
	if v.Unit != nil {
		unit = *v.Unit
	}
	short := map[string]string{"seconds": "s", "bytes": "B"}[unit]
	switch {
	case short != "" && v.Base == 10 && v.Exponent >= -18 && v.Exponent <= 18 && v.Exponent%3 == 0:
		text += ", " + [...]string{"a", "f", "p", "n", "u", "m", "", "K", "M", "G", "T", "P", "E"}[v.Exponent/3+6] + short
	case short != "" && v.Base == 2 && v.Exponent >= 0 && v.Exponent <= 60 && v.Exponent%10 == 0:
		text += ", " + [...]string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}[v.Exponent/10] + short
	case v.Exponent != 0:
		text += fmt.Sprintf(", * %d^%d", v.Base, v.Exponent)
		if unit != "" {
			text += " " + unit
		}
	case short != "":
		text += ", " + short
	case unit != "":
		text += ", " + unit
	}
	if v.Type == "linear-histogram" && v.Bucket != nil {
		text += fmt.Sprintf(", bucket size=%d", *v.Bucket)
	}
	return text
}

// statsNumber prints a statistic: a number, a boolean, or a histogram.
func statsNumber(b json.RawMessage) string {
	var list []int64
	if json.Unmarshal(b, &list) == nil {
		text := ""
		for i, v := range list {
			text += fmt.Sprintf("[%d]=%d ", i+1, v)
		}
		return text
	}
	switch v := scalar(b).(type) {
	case bool:
		return choose(v, "yes", "no")
	case int64:
		return fmt.Sprint(v)
	}
	return string(b)
}
