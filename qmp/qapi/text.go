package qapi

// Text is a string that is all of what a command returns.
type Text string

// DecodeQAPI implements Decodable.
func (s *Text) DecodeQAPI(v Value) error { return decodeString(v, (*string)(s)) }

// EncodeQAPI implements Encodable.
func (s *Text) EncodeQAPI(e *Encoder) { e.String(string(*s)) }
