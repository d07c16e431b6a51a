package scsi

import "golang.org/x/sys/unix"

// Status codes (SAM-5 §5.3.1).
const (
	Good           uint8 = 0x00
	CheckCondition uint8 = 0x02
	Busy           uint8 = 0x08
)

// Sense is what a unit says of a command that it did not carry out (SPC-4 §4.5).
type Sense struct{ Key, ASC, ASCQ uint8 }

// Sense keys.
const (
	keyNone           = 0x0
	keyNotReady       = 0x2
	keyMedium         = 0x3
	keyHardware       = 0x4
	keyIllegalRequest = 0x5
	keyUnitAttention  = 0x6
	keyDataProtect    = 0x7
	keyAborted        = 0xb
)

// What there is to say.
var (
	senseNone            = Sense{}
	senseNotReady        = Sense{keyNotReady, 0x04, 0x03}
	senseNoMedium        = Sense{keyNotReady, 0x3a, 0x00}
	senseEmptyLocked     = Sense{keyNotReady, 0x53, 0x02}
	senseReadError       = Sense{keyMedium, 0x11, 0x00}
	senseTargetFailure   = Sense{keyHardware, 0x44, 0x00}
	senseBadLength       = Sense{keyIllegalRequest, 0x1a, 0x00}
	senseBadOpcode       = Sense{keyIllegalRequest, 0x20, 0x00}
	senseBadLBA          = Sense{keyIllegalRequest, 0x21, 0x00}
	senseBadField        = Sense{keyIllegalRequest, 0x24, 0x00}
	senseNoUnit          = Sense{keyIllegalRequest, 0x25, 0x00}
	senseBadParameter    = Sense{keyIllegalRequest, 0x26, 0x00}
	senseBadFormat       = Sense{keyIllegalRequest, 0x30, 0x00}
	senseNoSaving        = Sense{keyIllegalRequest, 0x39, 0x00}
	senseLocked          = Sense{keyIllegalRequest, 0x53, 0x02}
	senseMediumChanged   = Sense{keyUnitAttention, 0x28, 0x00}
	senseReset           = Sense{keyUnitAttention, 0x29, 0x00}
	senseCapacityChanged = Sense{keyUnitAttention, 0x2a, 0x09}
	senseMediumGone      = Sense{keyUnitAttention, 0x3a, 0x00}
	senseUnitsChanged    = Sense{keyUnitAttention, 0x3f, 0x0e}
	senseWriteProtected  = Sense{keyDataProtect, 0x27, 0x00}
	senseNoSpace         = Sense{keyDataProtect, 0x27, 0x07}
	senseIOError         = Sense{keyAborted, 0x00, 0x06}
)

// Formats of sense data.
const (
	fixedFormat      = 0x70
	descriptorFormat = 0x72
)

// Fixed returns the sense data in fixed format.
func (s Sense) Fixed() [18]byte {
	return [18]byte{0: fixedFormat, 2: s.Key, 7: 10, 12: s.ASC, 13: s.ASCQ}
}

// descriptor returns the sense data in descriptor format.
func (s Sense) descriptor() [8]byte { return [8]byte{descriptorFormat, s.Key, s.ASC, s.ASCQ} }

// senseOf returns what to say of an error of the medium's.
func senseOf(e unix.Errno) Sense {
	switch e {
	case unix.ENODATA:
		return senseReadError
	case unix.EREMOTEIO, unix.ENOMEM:
		return senseTargetFailure
	case unix.ENOMEDIUM:
		return senseNoMedium
	case unix.EINVAL:
		return senseBadField
	case unix.ENOSPC:
		return senseNoSpace
	}
	return senseIOError
}

// before reports whether a unit attention is told in place of another one that waits:
// a reset says all that the others do (SAM-5 §5.14).
func (s Sense) before(other Sense) bool { return s.precedence() < other.precedence() }

func (s Sense) precedence() int {
	switch {
	case s.Key != keyUnitAttention:
		return 1 << 16
	case s.ASC == 0x29:
		return int(s.ASCQ)
	}
	return int(s.ASC)<<8 | int(s.ASCQ)
}
