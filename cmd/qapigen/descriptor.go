package main

import (
	"fmt"
	"go/ast"
	"strconv"
)

// descriptor is a command or an event.
type descriptor struct {
	ident    string // of the Go variable
	name     string
	event    bool
	arg, ret string // wire types; an event has the first alone
	flags    map[string]bool
	features []string
	doc      string
}

// newDescriptor reads "var CmdX = Command[A, R]{...}" or "var EventX = Event[D]{...}";
// it returns nil for other variables.
func newDescriptor(g *ast.GenDecl, s *ast.ValueSpec) (*descriptor, error) {
	if len(s.Names) != 1 || len(s.Values) != 1 {
		return nil, nil
	}
	lit, ok := s.Values[0].(*ast.CompositeLit)
	if !ok {
		return nil, nil
	}
	d := &descriptor{ident: s.Names[0].Name, flags: map[string]bool{}, features: features(g.Doc), doc: g.Doc.Text()}
	switch kind, args := instance(lit.Type); {
	case kind == "Command" && len(args) == 2:
		d.arg, d.ret = args[0], args[1]
	case kind == "Event" && len(args) == 1:
		d.arg, d.event = args[0], true
	default:
		return nil, nil
	}
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return nil, fmt.Errorf("%s: fields are named", d.ident)
		}
		switch v := kv.Value.(type) {
		case *ast.BasicLit:
			d.name, _ = strconv.Unquote(v.Value) // the parser has checked it
		case *ast.Ident:
			d.flags[kv.Key.(*ast.Ident).Name] = v.Name == "true"
		}
	}
	if d.name == "" {
		return nil, fmt.Errorf("%s has no Name that is a literal", d.ident)
	}
	return d, nil
}

// instance returns the parts of a generic type with its arguments.
func instance(x ast.Expr) (generic string, args []string) {
	var list []ast.Expr
	switch t := x.(type) {
	case *ast.IndexExpr:
		x, list = t.X, []ast.Expr{t.Index}
	case *ast.IndexListExpr:
		x, list = t.X, t.Indices
	}
	for _, a := range list {
		if id, ok := a.(*ast.Ident); ok {
			args = append(args, id.Name)
		}
	}
	if id, ok := x.(*ast.Ident); ok {
		generic = id.Name
	}
	return generic, args
}
