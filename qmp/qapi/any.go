package qapi

// NewValue returns the value that fill adds to a document, None if it adds
// nothing. It is valid as long as it is used.
func NewValue(fill func(*Document)) Value {
	d := &Document{}
	fill(d)
	return d.Root()
}

// DecodeQAPI implements Decodable: a Value that is a member takes whatever is
// there, and keeps a copy of it.
func (v *Value) DecodeQAPI(from Value) error {
	*v = from.Clone()
	return nil
}

// EncodeQAPI implements Encodable.
func (v *Value) EncodeQAPI(e *Encoder) { e.Value(*v) }

// NullType is the type of null, for alternates.
type NullType struct{}

// DecodeQAPI implements Decodable.
func (*NullType) DecodeQAPI(v Value) error {
	if v.Kind() != Null {
		return wrongType("null")
	}
	return nil
}

// EncodeQAPI implements Encodable.
func (*NullType) EncodeQAPI(e *Encoder) { e.Null() }
