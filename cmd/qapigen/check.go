package main

import (
	"fmt"
	"slices"
)

// check finds what the code for a type would not compile with or get wrong.
func (g *gen) check(t *typ) error {
	switch t.kind {
	case list:
		return g.known(t.elem)
	case alternate:
		return g.checkAlternate(t)
	}
	for _, m := range t.members {
		if err := g.known(m.typ); err != nil {
			return fmt.Errorf("member %s: %w", m.field, err)
		}
		if err := g.checkMember(t, &m); err != nil {
			return fmt.Errorf("member %s: %w", m.field, err)
		}
	}
	return nil
}

func (g *gen) checkMember(t *typ, m *member) error {
	is := g.types[m.typ]
	switch {
	case m.base && (is == nil || is.kind != object):
		return fmt.Errorf("a base is a struct")
	case m.rest && m.typ != "Value":
		return fmt.Errorf("the rest is a Value")
	case m.plain() && m.optional && !m.pointer && m.typ != "Value" && (is == nil || is.kind != list):
		return fmt.Errorf("an optional member is a pointer, unless it is a list or a Value")
	case m.branch != "":
		_, tag, ok := g.tag(t, "")
		isBranch := func(v value) bool { return v.text == m.branch }
		if !ok || is == nil || is.kind != object || !slices.ContainsFunc(g.types[tag.typ].values, isBranch) {
			return fmt.Errorf("%q is no value of the discriminator", m.branch)
		}
	}
	return nil
}

// tag finds the discriminator of a union, which may be in a base, and the Go
// expression for it.
func (g *gen) tag(t *typ, prefix string) (expr string, tag *member, ok bool) {
	for i := range t.members {
		m := &t.members[i]
		switch is := g.types[m.typ]; {
		case m.discriminator && is != nil && is.kind == enum:
			return prefix + m.field, m, true
		case m.base && is != nil:
			if expr, tag, ok = g.tag(is, prefix+m.field+"."); ok {
				return expr, tag, true
			}
		}
	}
	return "", nil, false
}

// checkAlternate finds alternatives that a value's kind does not tell apart.
func (g *gen) checkAlternate(t *typ) error {
	seen := map[string]bool{}
	for _, m := range t.members {
		if err := g.known(m.typ); err != nil {
			return fmt.Errorf("member %s: %w", m.field, err)
		}
		k := g.json(m.typ)
		if !m.alternate || k == "" || seen[k] {
			return fmt.Errorf("member %s: a value's kind does not tell which alternative it is", m.field)
		}
		seen[k] = true
	}
	return nil
}

// json returns the kind of JSON value that a type is, one for all numbers, and ""
// if it may be several.
func (g *gen) json(name string) string {
	if b, ok := basic[name]; ok {
		if b.json == "Float" {
			return "Int"
		}
		return b.json
	}
	if t := g.types[name]; t != nil {
		return map[kind]string{enum: "String", object: "Object", list: "Array"}[t.kind]
	}
	return byHand[name]
}

func (g *gen) known(name string) error {
	_, isBasic := basic[name]
	_, isByHand := byHand[name]
	if isBasic || isByHand || g.types[name] != nil {
		return nil
	}
	return fmt.Errorf("type %s is neither basic nor in a schema file", name)
}

// checkDescriptor finds a descriptor of types that there are not.
func (g *gen) checkDescriptor(d *descriptor) error {
	if err := g.known(d.arg); err != nil {
		return err
	}
	if d.event {
		return nil
	}
	return g.known(d.ret)
}

// checkNames finds names that several commands or events have.
func checkNames(files []*file) error {
	seen := map[string]string{}
	for _, f := range files {
		for _, d := range f.descriptors {
			if other, twice := seen[d.name]; twice {
				return fmt.Errorf("%s and %s are both %s", other, d.ident, d.name)
			}
			seen[d.name] = d.ident
		}
	}
	return nil
}
