package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// reference writes the handbook of all commands and events.
type reference struct {
	gen
	used map[string]bool // types that are described
}

const preamble = `<!-- Written by cmd/qapigen from the doc comments in qmp/qapi; do not edit. -->
# QMP reference

Every command and every event that hv has, as it is on the wire. Names, types, optionality and errors are QEMU 7.2's;
` + "`query-qmp-schema`" + ` tells the same to programs. A connection begins with the server's greeting, to which
` + "`qmp_capabilities`" + ` is the answer; docs/architecture.md says how commands are executed.

In examples ` + "`->`" + ` is what a client sends and ` + "`<-`" + ` what it gets; values are made up. Members marked with * are optional.
Unless something else is said, a command waits until the machine is built and runs in the order of its connection.

## Errors

An error is ` + "`{\"error\": {\"class\": CLASS, \"desc\": TEXT}}`" + `. Any command may fail with GenericError: for a member that is missing
("Parameter 'x' is missing"), unexpected ("Parameter 'x' is unexpected"), of a wrong type ("Invalid parameter type for 'x',
expected: string") or out of range, and for what its description says.

`

// newReference writes the reference of files to a buffer.
func newReference(types map[string]*typ, files []*file) []byte {
	r := &reference{gen: gen{types: types}, used: map[string]bool{}}
	var commands, events []*descriptor
	for _, f := range files {
		for _, d := range f.descriptors {
			if d.event {
				events = append(events, d)
			} else {
				commands = append(commands, d)
			}
		}
	}
	byName := func(a, b *descriptor) int { return strings.Compare(a.name, b.name) }
	slices.SortFunc(commands, byName)
	slices.SortFunc(events, byName)
	r.WriteString(preamble)
	r.values(types[errorClass])
	r.index("Commands", "cmd", commands)
	r.index("Events", "event", events)
	r.p("\n## Commands")
	for _, d := range commands {
		r.command(d)
	}
	r.p("\n## Events\n\nAn event of which a guest could make any number is sent once in a second at most, the latest then.")
	for _, d := range events {
		r.event(d)
	}
	r.p("\n## Types")
	for _, name := range r.reachable(slices.Concat(commands, events)) {
		r.wireType(types[name])
	}
	return r.Bytes()
}

// errorClass is the enumeration of the classes of errors.
const errorClass = "QapiErrorClass"

func (r *reference) index(title, anchor string, all []*descriptor) {
	var links []string
	for _, d := range all {
		links = append(links, fmt.Sprintf("[%s](#%s-%s)", d.name, anchor, d.name))
	}
	r.p("\n%s: %s", title, strings.Join(links, ", "))
}

// sentence returns a doc comment that begins with a Go identifier without that.
func sentence(doc, ident string) string {
	doc = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(doc), ident))
	for i, c := range doc {
		return string(unicode.ToUpper(c)) + doc[i+len(string(c)):]
	}
	return ""
}

// oneLine is a doc comment for a table.
func oneLine(doc string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), "|", `\|`)
}

func (r *reference) command(d *descriptor) {
	r.p("\n<a id=\"cmd-%s\"></a>\n### %s\n\n%s", d.name, d.name, sentence(d.doc, d.ident))
	r.notes(d)
	r.members("Arguments", d.arg)
	if d.ret != "Empty" {
		r.p("\nReturns: %s", r.link(d.ret))
	}
	if classes := r.classes(d.doc); len(classes) > 0 {
		r.p("\nErrors: %s", strings.Join(classes, ", "))
	}
	x := example{types: r.types}
	request := fmt.Sprintf(`{"execute": %q}`, d.name)
	if args := x.object(d.arg, false); args != "{}" {
		request = fmt.Sprintf(`{"execute": %q, "arguments": %s}`, d.name, args)
	}
	r.p("\n```\n-> %s", request)
	if !d.flags["Silent"] {
		r.p("<- {\"return\": %s}", x.value("", d.ret, 0))
	}
	r.p("```")
}

// notes tells the special features and where and when a command may be executed.
func (r *reference) notes(d *descriptor) {
	var notes []string
	for _, n := range []struct{ flag, text string }{
		{"Preconfig", "available before the machine is built"},
		{"OOB", "may be executed out of band"},
		{"Silent", "not answered if it succeeds"},
		{"RateLimited", "limited in rate"},
	} {
		if d.flags[n.flag] {
			notes = append(notes, n.text)
		}
	}
	for _, f := range d.features {
		notes = append(notes, "feature "+f)
	}
	if len(notes) > 0 {
		r.p("\nNotes: %s.", strings.Join(notes, "; "))
	}
}

// classes returns the classes of errors that a text names.
func (r *reference) classes(doc string) []string {
	var out []string
	if t := r.types[errorClass]; t != nil {
		for _, v := range t.values {
			if strings.Contains(doc, v.text) {
				out = append(out, v.text)
			}
		}
	}
	return out
}

func (r *reference) event(d *descriptor) {
	r.p("\n<a id=\"event-%s\"></a>\n### %s\n\n%s", d.name, d.name, sentence(d.doc, d.ident))
	r.notes(d)
	r.members("Data", d.arg)
	x := example{types: r.types}
	data := x.object(d.arg, true)
	if data != "{}" {
		data = `, "data": ` + data
	} else {
		data = ""
	}
	r.p("\n```\n<- {\"timestamp\": {\"seconds\": 1795254348, \"microseconds\": 637281}, \"event\": %q%s}\n```", d.name, data)
}

// members writes the table of an object's members.
func (r *reference) members(title, name string) {
	t := r.types[name]
	if t == nil {
		return
	}
	if all := r.flat(t); len(all) > 0 {
		r.p("\n| %s | type | |\n|---|---|---|", title)
		for _, m := range all {
			star := ""
			if m.optional {
				star = "*"
			}
			r.p("| `%s`%s | %s | %s |", m.name, star, r.link(m.typ), oneLine(m.doc+featureNote(m.features)))
		}
	}
	if r.rest(t, "") != "" {
		r.p("\nAny other member is taken too.")
	}
	_, tag, ok := r.tag(t, "")
	for _, m := range t.members {
		if ok && m.branch != "" {
			r.p("\nIf `%s` is `%s`, also the members of %s.", tag.name, m.branch, r.link(m.typ))
		}
	}
}

func featureNote(features []string) string {
	if len(features) == 0 {
		return ""
	}
	return " (" + strings.Join(features, ", ") + ")"
}

// link returns what a type is called, with a link if it is described.
func (r *reference) link(name string) string {
	words := map[string]string{
		"string": "string", "bool": "boolean", "float64": "number", "int64": "int", "Value": "any", "NullType": "null", "Empty": "nothing", "Text": "string",
	}
	t := r.types[name]
	switch {
	case words[name] != "":
		return words[name]
	case t == nil:
		return name // uint8 and the like
	case t.kind == list:
		return "list of " + r.link(t.elem)
	}
	return fmt.Sprintf("[%s](#type-%s)", name, name)
}

// reachable returns the types that must be described, sorted: those of arguments and
// data are where they are used.
func (r *reference) reachable(all []*descriptor) []string {
	for _, d := range all {
		if t := r.types[d.arg]; t != nil {
			r.walkMembers(t)
		}
		r.walk(d.ret)
	}
	var names []string
	for name := range r.used {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare)
	return names
}

func (r *reference) walk(name string) {
	t := r.types[name]
	switch {
	case t == nil || r.used[name]:
	case t.kind == list:
		r.walk(t.elem)
	default:
		r.used[name] = true
		r.walkMembers(t)
	}
}

func (r *reference) walkMembers(t *typ) {
	for _, m := range t.members {
		if m.base {
			r.walkMembers(r.types[m.typ])
		} else {
			r.walk(m.typ)
		}
	}
}

func (r *reference) wireType(t *typ) {
	r.p("\n<a id=\"type-%s\"></a>\n### %s\n\n%s%s", t.name, t.name, strings.TrimSpace(t.doc), featureNote(t.features))
	switch t.kind {
	case enum:
		r.values(t)
	case alternate:
		var kinds []string
		for _, m := range t.members {
			kinds = append(kinds, r.link(m.typ))
		}
		r.p("\nOne of: %s.", strings.Join(kinds, ", "))
	case object:
		r.members("Member", t.name)
	}
}

// values writes the table of an enumeration's values.
func (r *reference) values(t *typ) {
	if t == nil {
		return
	}
	r.p("\n| Value | |\n|---|---|")
	for _, v := range t.values {
		r.p("| `%s` | %s |", v.text, oneLine(v.doc+featureNote(v.features)))
	}
}
