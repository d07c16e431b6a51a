package main

import (
	"slices"
	"strings"
)

func (g *gen) object(t *typ) {
	g.p("\n// DecodeQAPI implements Decodable.\nfunc (x *%s) DecodeQAPI(v Value) error {", t.name)
	g.p("o, err := v.object()\nif err != nil { return err }")
	g.p("if err := x.decodeMembers(&o); err != nil { return err }\nreturn o.finish()\n}")
	g.p("\nfunc (x *%s) decodeMembers(o *object) error {", t.name)
	for _, m := range t.members {
		if m.branch == "" {
			g.decodeMember(m)
		}
	}
	g.decodeBranches(t)
	g.p("return nil\n}")
	g.p("\n// EncodeQAPI implements Encodable.\nfunc (x *%s) EncodeQAPI(e *Encoder) {\ne.BeginObject()", t.name)
	for _, w := range g.written(t, "", "x.", nil) {
		g.encodeMember(w)
	}
	g.p("e.EndObject()\n}")
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
	tag := slices.IndexFunc(t.members, func(m member) bool { return m.discriminator })
	if tag < 0 {
		return
	}
	g.p("switch x.%s {", t.members[tag].field)
	for _, m := range t.members {
		if m.branch != "" {
			g.p("case %s:\nx.%s = new(%s)\nreturn x.%s.decodeMembers(o)",
				g.constant(t.members[tag].typ, m.branch), m.field, m.typ, m.field)
		}
	}
	g.p("}")
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
		if m.branch != "" {
			all = g.written(g.types[m.typ], expr+" != nil", expr+".", all)
			continue
		}
		c := cond
		if m.optional {
			if c != "" {
				c += " && "
			}
			c += expr + " != nil"
		}
		all = append(all, written{m, expr, c})
	}
	if prefix == "x." {
		slices.Reverse(all) // in a bucket the last comes first
		slices.SortStableFunc(all, func(a, b written) int { return int(bucket(a.name)) - int(bucket(b.name)) })
	}
	return all
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
