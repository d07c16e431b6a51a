package main

import (
	"slices"
	"strings"
)

func (g *gen) object(t *typ) {
	g.p("\n// DecodeQAPI implements Decodable.\nfunc (x *%s) DecodeQAPI(v Value) error {", t.name)
	g.p("o, err := v.object()\nif err != nil { return err }")
	g.p("if err := x.decodeMembers(&o); err != nil { return err }")
	if g.rest(t, "") == "" {
		g.p("return o.finish()\n}")
	} else {
		g.p("x.%s = o.rest()\nreturn nil\n}", g.rest(t, ""))
	}
	g.p("\nfunc (x *%s) decodeMembers(o *object) error {", t.name)
	for _, m := range t.members {
		switch {
		case m.base:
			g.p("if err := x.%s.decodeMembers(o); err != nil { return err }", m.field)
		case m.plain():
			g.decodeMember(m)
		}
	}
	g.decodeBranches(t)
	g.p("return nil\n}")
	g.p("\n// EncodeQAPI implements Encodable.\nfunc (x *%s) EncodeQAPI(e *Encoder) {\ne.BeginObject()", t.name)
	for _, w := range g.written(t, "", "x.", nil) {
		g.encodeMember(w)
	}
	if r := g.rest(t, ""); r != "" {
		g.p("e.members(x.%s)", r)
	}
	g.p("e.EndObject()\n}")
}

// rest returns the field for what no member takes, "" if there is none.
func (g *gen) rest(t *typ, prefix string) string {
	for _, m := range t.members {
		switch {
		case m.rest:
			return prefix + m.field
		case m.base:
			if r := g.rest(g.types[m.typ], prefix+m.field+"."); r != "" {
				return r
			}
		}
	}
	return ""
}

func (g *gen) decodeMember(m member) {
	call := g.decode(m.typ, "x."+m.field)
	if m.pointer {
		if _, ok := basic[m.typ]; ok {
			call = strings.Replace(call, "&x.", "x.", 1)
		}
	}
	if m.optional {
		g.p("if m, ok := o.take(%q); ok {", m.name)
		if m.pointer {
			g.p("x.%s = new(%s)", m.field, m.typ)
		}
		g.p("if err := %s; err != nil { return within(%q, err) }\n}", call, m.name)
		return
	}
	g.p("if m, ok := o.take(%q); !ok {\nreturn missing(%q)\n} else if err := %s; err != nil {", m.name, m.name, call)
	g.p("return within(%q, err)\n}", m.name)
}

// decodeBranches decodes the members of the branch that the discriminator tells.
func (g *gen) decodeBranches(t *typ) {
	if !slices.ContainsFunc(t.members, func(m member) bool { return m.branch != "" }) {
		return
	}
	expr, tag, _ := g.tag(t, "x.")
	g.p("switch %s {", expr)
	for _, m := range t.members {
		if m.branch != "" {
			g.p("case %s:\nx.%s = new(%s)\nreturn x.%s.decodeMembers(o)",
				g.constant(tag.typ, m.branch), m.field, m.typ, m.field)
		}
	}
	g.p("}")
}

// alternate writes the code for a type whose value's kind tells what it is.
func (g *gen) alternate(t *typ) {
	g.p("\n// DecodeQAPI implements Decodable.\nfunc (x *%s) DecodeQAPI(v Value) error {\nswitch v.Kind() {", t.name)
	for _, m := range t.members {
		kinds := g.json(m.typ)
		if kinds == "Int" {
			kinds = "Int, Uint, Float"
		}
		call := strings.Replace(strings.Replace(g.decode(m.typ, "x."+m.field), "&x.", "x.", 1), "(m", "(v", 1)
		g.p("case %s:\nx.%s = new(%s)\nreturn %s", kinds, m.field, m.typ, call)
	}
	g.p("}\nreturn noneOf(%q)\n}", t.name)
	g.p("\n// EncodeQAPI implements Encodable.\nfunc (x *%s) EncodeQAPI(e *Encoder) {\nswitch {", t.name)
	for _, m := range t.members {
		expr := "x." + m.field
		if _, ok := basic[m.typ]; ok {
			expr = "*" + expr
		}
		g.p("case x.%s != nil:\n%s", m.field, g.encode(m.typ, expr))
	}
	g.p("default:\ne.Null() // it is nothing\n}\n}")
}

func (g *gen) constant(enum, text string) string {
	for _, v := range g.types[enum].values {
		if v.text == text {
			return v.constant
		}
	}
	return ""
}

// written is a member where an object is written: of the type itself or of a
// branch of it.
type written struct {
	member
	expr string // of the field
	cond string // under which there is such a member, empty if always
}

// written returns the members of t and its branches in the order of encoding.
func (g *gen) written(t *typ, cond, prefix string, all []written) []written {
	for _, m := range t.members {
		expr := prefix + m.field
		switch {
		case m.branch != "":
			all = g.written(g.types[m.typ], and(cond, expr+" != nil"), expr+".", all)
		case m.base:
			all = g.written(g.types[m.typ], cond, expr+".", all)
		case m.optional && !m.pointer && m.typ == "Value":
			all = append(all, written{m, expr, and(cond, expr+".Kind() != None")})
		case m.optional:
			all = append(all, written{m, expr, and(cond, expr+" != nil")})
		case m.plain():
			all = append(all, written{m, expr, cond})
		}
	}
	if prefix == "x." {
		slices.Reverse(all) // in a bucket the last comes first
		slices.SortStableFunc(all, func(a, b written) int { return int(bucket(a.name)) - int(bucket(b.name)) })
	}
	return all
}

// and joins conditions, of which the first may be empty.
func and(a, b string) string {
	if a == "" {
		return b
	}
	return a + " && " + b
}

func (g *gen) encodeMember(w written) {
	expr := w.expr
	if _, ok := basic[w.typ]; ok && w.pointer {
		expr = "*" + expr
	}
	if w.cond != "" {
		g.p("if %s {", w.cond)
	}
	g.p("e.Key(%q)\n%s", w.name, g.encode(w.typ, expr))
	if w.cond != "" {
		g.p("}")
	}
}

// bucket is the place of a member in the hash table in which QEMU keeps objects;
// it prints them in that order. Package qapi has the same function, which this
// program cannot import: it must run when that does not compile.
func bucket(name string) uint32 {
	v := uint32(0x238F13AF) * uint32(len(name))
	for i, c := range []byte(name) {
		v += uint32(c) << (i * 5 % 24)
	}
	return (1103515243*v + 12345) % 512
}
