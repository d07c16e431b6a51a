package qapi

// Command describes a command that takes arguments A and returns R.
// Handlers are registered for it with package dispatch.
type Command[A, R any] struct {
	// Name is the name on the wire.
	Name string
	// OOB says that the command may be executed out of band.
	OOB bool
	// Preconfig says that the command is available before the machine is built.
	Preconfig bool
	// Silent says that the command is not answered when it succeeds.
	Silent bool
	// Concurrent says that the handler runs on its client's goroutine, beside
	// others, and not on the control goroutine: it may wait for long, or does
	// not touch the VM.
	Concurrent bool
}

// Event describes an event whose data is D.
type Event[D any] struct {
	// Name is the name on the wire.
	Name string
	// RateLimited says that a guest can trigger the event at will, so that it
	// is sent at most once in EventInterval; of those in between the last is
	// sent when the interval ends.
	RateLimited bool
	// RateKey tells apart the sources of a rate limited event, each having its
	// own limit; nil if they share one.
	RateKey func(D) string
	// OnceKey, if it is not nil, says that each client is told once of the events of a
	// key, and then no more of them until it has asked for what they are about.
	OnceKey func(D) string
}

// EventInterval is what lies at least between two rate limited events, in seconds.
const EventInterval = 1

// Empty is the type of arguments, returned values and event data without members.
// Like any arguments it refuses members that it does not have.
type Empty struct{}

// DecodeQAPI implements Decodable.
func (*Empty) DecodeQAPI(v Value) error {
	o, err := v.object()
	if err != nil {
		return err
	}
	return o.finish()
}

// EncodeQAPI implements Encodable.
func (*Empty) EncodeQAPI(e *Encoder) {
	e.BeginObject()
	e.EndObject()
}

// Decodable is a wire type that can be read; every type of the schema is one.
type Decodable interface {
	// DecodeQAPI sets the receiver from a value. What is missing, unexpected,
	// of the wrong type or out of range is an error with QEMU's text.
	DecodeQAPI(Value) error
}

// Encodable is a wire type that can be written; every type of the schema is one.
type Encodable interface {
	// EncodeQAPI writes the receiver, members in QEMU's order.
	EncodeQAPI(*Encoder)
}

// Codec is what a pointer to a wire type T can do. It is a constraint by which
// generic functions find T's generated methods without reflection.
type Codec[T any] interface {
	*T
	Decodable
	Encodable
}
