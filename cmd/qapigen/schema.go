package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// marker is the first line of a schema file.
const marker = "//qapi:schema\n"

// file is a schema file.
type file struct {
	name        string // without ".go"
	types       []*typ
	descriptors []*descriptor
}

// forTests tells whether the schema is there for tests alone.
func (f *file) forTests() bool { return strings.HasSuffix(f.name, "_test") }

// output returns the name of the file that is generated.
func (f *file) output() string {
	if f.forTests() {
		return strings.TrimSuffix(f.name, "_test") + "_gen_test.go"
	}
	return f.name + "_gen.go"
}

// kind is the kind of a wire type.
type kind int

const (
	enum kind = iota
	object
	list
	alternate
)

// typ is a wire type.
type typ struct {
	name     string
	kind     kind
	elem     string   // of a list
	values   []value  // of an enumeration
	members  []member // of an object or an alternate
	features []string
	doc      string
}

// value is a value of an enumeration.
type value struct {
	constant, text string
	features       []string
	doc            string
}

// member is a member of an object, or what an alternate may be.
type member struct {
	field, name   string
	typ           string // without "*"
	pointer       bool
	optional      bool
	discriminator bool
	branch        string // the discriminator's value, if this is a branch
	base          bool   // its members are the object's
	rest          bool   // what no member has taken
	alternate     bool
	features      []string
	doc           string
}

// plain tells whether the field is a member on the wire.
func (m *member) plain() bool { return m.branch == "" && !m.base && !m.rest }

// load reads the schema files of a folder.
func load(dir string) ([]*file, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*file
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !bytes.HasPrefix(text, []byte(marker)) {
			continue
		}
		f, err := parse(name, text)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// parse reads a schema file.
func parse(name string, text []byte) (*file, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution|parser.ParseComments)
	if err != nil {
		return nil, err
	}
	f := &file{name: strings.TrimSuffix(filepath.Base(name), ".go")}
	consts := map[string][]value{}
	for _, d := range syntax.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				if g.Tok == token.CONST {
					addConst(consts, s)
					continue
				}
				d, err := newDescriptor(g, s)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", fset.Position(s.Pos()), err)
				}
				if d != nil {
					f.descriptors = append(f.descriptors, d)
				}
			case *ast.TypeSpec:
				t, err := newType(s)
				if t != nil {
					t.features, t.doc = features(g.Doc), g.Doc.Text()
				}
				if err != nil {
					return nil, fmt.Errorf("%s: type %s: %w", fset.Position(s.Pos()), s.Name.Name, err)
				}
				f.types = append(f.types, t)
			}
		}
	}
	for _, t := range f.types {
		t.values = consts[t.name]
		if t.kind == enum && len(t.values) == 0 {
			return nil, fmt.Errorf("%s: enumeration %s has no values", name, t.name)
		}
	}
	return f, nil
}

func addConst(consts map[string][]value, s *ast.ValueSpec) {
	t, ok := s.Type.(*ast.Ident)
	if !ok || len(s.Names) != 1 || len(s.Values) != 1 {
		return
	}
	if lit, ok := s.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
		text, _ := strconv.Unquote(lit.Value) // the parser has checked it
		consts[t.Name] = append(consts[t.Name], value{s.Names[0].Name, text, features(s.Doc), comment(s.Doc, s.Comment)})
	}
}

// comment returns what stands above or else beside a field or a constant.
func comment(above, beside *ast.CommentGroup) string {
	if s := above.Text(); s != "" {
		return s
	}
	return beside.Text()
}

// features returns what the lines "//qapi:features NAME..." of a comment name.
func features(doc *ast.CommentGroup) []string {
	var all []string
	if doc == nil {
		return nil
	}
	for _, c := range doc.List {
		if names, ok := strings.CutPrefix(c.Text, "//qapi:features "); ok {
			all = append(all, strings.Fields(names)...)
		}
	}
	return all
}

func newType(s *ast.TypeSpec) (*typ, error) {
	t := &typ{name: s.Name.Name}
	switch x := s.Type.(type) {
	case *ast.Ident:
		if x.Name != "string" {
			return nil, fmt.Errorf("an enumeration is a string, not %s", x.Name)
		}
		t.kind = enum
	case *ast.ArrayType:
		elem, ok := x.Elt.(*ast.Ident)
		if !ok || x.Len != nil {
			return nil, fmt.Errorf("a list is a slice of a named type")
		}
		t.kind, t.elem = list, elem.Name
	case *ast.StructType:
		t.kind = object
		for _, f := range x.Fields.List {
			m, err := newMember(f)
			if err != nil {
				return nil, err
			}
			if m.alternate {
				t.kind = alternate
			}
			t.members = append(t.members, m)
		}
	default:
		return nil, fmt.Errorf("neither a string, a slice nor a struct")
	}
	return t, nil
}

func newMember(f *ast.Field) (member, error) {
	if len(f.Names) == 0 {
		id, ok := f.Type.(*ast.Ident)
		if !ok || f.Tag != nil {
			return member{}, fmt.Errorf("a base is an embedded type without a tag")
		}
		return member{field: id.Name, typ: id.Name, base: true}, nil
	}
	if len(f.Names) != 1 {
		return member{}, fmt.Errorf("each member is a field of its own, with a name")
	}
	m := member{field: f.Names[0].Name, doc: comment(f.Doc, f.Comment)}
	x := f.Type
	if star, ok := x.(*ast.StarExpr); ok {
		m.pointer, m.optional, x = true, true, star.X
	}
	id, ok := x.(*ast.Ident)
	if !ok {
		return m, fmt.Errorf("member %s is not of a named type", m.field)
	}
	m.typ = id.Name
	if f.Tag == nil {
		return m, fmt.Errorf("member %s has no tag", m.field)
	}
	raw, _ := strconv.Unquote(f.Tag.Value)
	options := strings.Split(reflect.StructTag(raw).Get("qapi"), ",")
	m.name = options[0]
	for _, o := range options[1:] {
		if err := m.option(o); err != nil {
			return m, err
		}
	}
	switch named := m.name != ""; {
	case named != m.plain(), (m.branch != "" || m.alternate) && !m.pointer:
		return m, fmt.Errorf("member %s wants a name, or is a pointer with a branch", m.field)
	}
	return m, nil
}

// option applies an option of a member's tag.
func (m *member) option(o string) error {
	switch key, arg, _ := strings.Cut(o, "="); key {
	case "optional":
		m.optional = true
	case "discriminator":
		m.discriminator = true
	case "branch":
		m.branch = arg
	case "alternate":
		m.alternate = true
	case "rest":
		m.rest = true
	case "feature":
		m.features = append(m.features, arg)
	default:
		return fmt.Errorf("member %s has an unknown tag option %q", m.field, key)
	}
	return nil
}
