//qapi:schema

package qapi

// QapiErrorClass says what kind of error a command met.
type QapiErrorClass string

// The error classes.
const (
	QapiErrorClassGenericError    QapiErrorClass = "GenericError"    // no class is of use to a client
	QapiErrorClassCommandNotFound QapiErrorClass = "CommandNotFound" // unknown, or not available now
	QapiErrorClassDeviceNotActive QapiErrorClass = "DeviceNotActive" // the device failed to become active
	QapiErrorClassDeviceNotFound  QapiErrorClass = "DeviceNotFound"  // no such device
	QapiErrorClassKVMMissingCap   QapiErrorClass = "KVMMissingCap"   // KVM lacks a capability
)

// ErrorInfo is the member "error" of a reply.
type ErrorInfo struct {
	Class QapiErrorClass `qapi:"class"`
	Desc  string         `qapi:"desc"` // for humans; not stable
}

// Timestamp is the member "timestamp" of an event, host time since 1970 UTC.
type Timestamp struct {
	Seconds      int64 `qapi:"seconds"`
	Microseconds int64 `qapi:"microseconds"`
}
