package platform

import (
	"sync"

	"hv/devices/bus"
	"hv/devices/irq"
)

// UARTSize is the number of ports that a UART takes.
const UARTSize = 8

// Registers (PC16550D §8.0). The first two double as the divisor while DLAB
// is set.
const (
	uartData    = 0
	uartIER     = 1
	uartIIR     = 2 // FCR when written
	uartLCR     = 3
	uartMCR     = 4
	uartLSR     = 5
	uartMSR     = 6
	uartScratch = 7
)

const (
	ierRDI  = 1 << 0 // received data
	ierTHRI = 1 << 1 // transmitter empty
	ierRLSI = 1 << 2 // line status
	ierMSI  = 1 << 3 // modem status

	iirNone = 0x01
	iirTHRI = 0x02
	iirRDI  = 0x04
	iirRLSI = 0x06
	iirCTI  = 0x0c // characters wait below the trigger level
	iirMSI  = 0x00
	iirFIFO = 0xc0
	iirID   = 0x0f

	fcrEnable  = 1 << 0
	fcrClearRX = 1 << 1
	fcrClearTX = 1 << 2
	fcrKept    = 0xc9

	lcrDLAB = 1 << 7

	mcrLoop = 1 << 4
	mcrBits = 0x1f

	lsrDR      = 1 << 0
	lsrOE      = 1 << 1
	lsrBI      = 1 << 4
	lsrErrors  = 0x1e
	lsrTXEmpty = 0x60

	msrAlways = 0xb0 // carrier, data set ready, clear to send
	msrDeltas = 0x0f

	uartFIFO = 16
)

// UARTConfig describes a serial port.
type UARTConfig struct {
	// IRQ is raised while an enabled condition is pending.
	IRQ irq.Line
	// Output gets each byte at the moment the guest writes it, whatever the
	// divisor says, under the device's lock. Nil discards.
	Output Output
	// Space is called when there is room for input again after CanReceive
	// returned 0. It may be nil.
	Space func()
}

// UART is a 16550A. Transmission is immediate; a character timeout is reported
// as soon as received characters stay below the trigger level.
type UART struct {
	cfg UARTConfig

	mu      sync.Mutex
	out     [1]byte
	divisor uint16
	ier     byte
	iir     byte
	fcr     byte
	lcr     byte
	mcr     byte
	lsr     byte
	msr     byte
	scratch byte
	thrDue  bool // transmitter-empty interrupt pending
	starved bool // the input side waits for Space
	raised  bool // level of the interrupt line
	fifo    [uartFIFO]byte
	head    int
	count   int
}

// NewUART returns a UART in its reset state.
func NewUART(cfg UARTConfig) *UART {
	u := &UART{cfg: cfg}
	u.Reset()
	return u
}

// Map maps the UART's registers at port base.
func (u *UART) Map(ports *bus.Space, base uint64) error {
	return ports.Map(base, UARTSize, "serial", u)
}

// Reset is a master reset (PC16550D table I). Received characters are lost.
func (u *UART) Reset() {
	u.mu.Lock()
	defer u.unlock()
	u.divisor, u.ier, u.iir, u.fcr, u.lcr, u.scratch = 12, 0, iirNone, 0, 0, 0
	u.mcr, u.lsr, u.msr = 0x08, lsrTXEmpty, msrAlways
	u.thrDue, u.head, u.count = false, 0, 0
	u.update()
}

// Read reads registers.
func (u *UART) Read(off uint64, data []byte) {
	u.mu.Lock()
	defer u.unlock()
	readBytes(u, off, data)
}

// Write writes registers.
func (u *UART) Write(off uint64, data []byte) {
	u.mu.Lock()
	defer u.unlock()
	writeBytes(u, off, data)
}

// unlock releases mu and then tells the input side of new room.
func (u *UART) unlock() {
	tell := u.starved && u.room() > 0
	if tell {
		u.starved = false
	}
	u.mu.Unlock()
	if tell && u.cfg.Space != nil {
		u.cfg.Space()
	}
}

func (u *UART) readByte(off uint64) (v byte) {
	dlab := u.lcr&lcrDLAB != 0
	switch {
	case off == uartData && dlab:
		v = byte(u.divisor)
	case off == uartIER && dlab:
		v = byte(u.divisor >> 8)
	case off == uartData:
		v = u.pop()
	case off == uartIER:
		v = u.ier
	case off == uartIIR:
		v = u.iir
		if v&iirID == iirTHRI {
			u.thrDue = false
		}
	case off == uartLCR:
		v = u.lcr
	case off == uartMCR:
		v = u.mcr
	case off == uartLSR:
		v = u.lsr
		u.lsr &^= lsrBI | lsrOE
	case off == uartMSR:
		v = u.modemStatus()
	case off == uartScratch:
		v = u.scratch
	}
	u.update()
	return v
}

// modemStatus reads MSR: the modem control outputs in loopback mode.
func (u *UART) modemStatus() byte {
	if m := u.mcr; m&mcrLoop != 0 {
		return m&0x0c<<4 | m&0x02<<3 | m&0x01<<5
	}
	v := u.msr
	u.msr &^= msrDeltas
	return v
}

func (u *UART) writeByte(off uint64, v byte) {
	dlab := u.lcr&lcrDLAB != 0
	switch {
	case off == uartData && dlab:
		u.divisor = u.divisor&0xff00 | uint16(v)
	case off == uartIER && dlab:
		u.divisor = u.divisor&0x00ff | uint16(v)<<8
	case off == uartData:
		u.transmit(v)
	case off == uartIER:
		u.enable(v)
	case off == uartIIR:
		u.control(v)
	case off == uartLCR:
		u.lcr = v
	case off == uartMCR:
		u.mcr = v & mcrBits
	case off == uartScratch:
		u.scratch = v
	}
	u.update()
}

// transmit sends a byte, at once.
func (u *UART) transmit(v byte) {
	u.thrDue = true
	if u.mcr&mcrLoop != 0 {
		u.push(v)
		return
	}
	if u.cfg.Output != nil {
		u.out[0] = v
		_, _ = u.cfg.Output.Write(u.out[:])
	}
}

// enable writes IER. Enabling the transmitter interrupt while the transmitter
// is empty raises it, which it always is.
func (u *UART) enable(v byte) {
	if (u.ier^v)&ierTHRI != 0 {
		u.thrDue = v&ierTHRI != 0
	}
	u.ier = v & (ierRDI | ierTHRI | ierRLSI | ierMSI)
}

// control writes FCR. Turning the FIFO on or off empties it.
func (u *UART) control(v byte) {
	if (v^u.fcr)&fcrEnable != 0 {
		v |= fcrClearRX | fcrClearTX
	}
	if v&fcrClearRX != 0 {
		u.count = 0
		u.lsr &^= lsrDR | lsrBI
	}
	if v&fcrClearTX != 0 {
		u.thrDue = true
	}
	u.fcr = v & fcrKept
}

// depth is how many characters fit.
func (u *UART) depth() int {
	if u.fcr&fcrEnable != 0 {
		return uartFIFO
	}
	return 1
}

func (u *UART) room() int { return u.depth() - u.count }

// trigger is the number of characters that raises the data interrupt.
func (u *UART) trigger() int {
	if u.fcr&fcrEnable == 0 {
		return 1
	}
	return [4]int{1, 4, 8, 14}[u.fcr>>6]
}

func (u *UART) push(v byte) {
	if u.room() <= 0 {
		u.lsr |= lsrOE
		return
	}
	u.fifo[(u.head+u.count)%uartFIFO] = v
	u.count++
	u.lsr |= lsrDR
}

func (u *UART) pop() byte {
	v := u.fifo[u.head]
	if u.count > 0 {
		u.head = (u.head + 1) % uartFIFO
		u.count--
	}
	if u.count == 0 {
		u.lsr &^= lsrDR | lsrBI
	}
	return v
}

// update recomputes the interrupt, by priority (PC16550D table IV).
func (u *UART) update() {
	id := byte(iirNone)
	switch {
	case u.ier&ierRLSI != 0 && u.lsr&lsrErrors != 0:
		id = iirRLSI
	case u.ier&ierRDI != 0 && u.count >= u.trigger():
		id = iirRDI
	case u.ier&ierRDI != 0 && u.count > 0:
		id = iirCTI
	case u.ier&ierTHRI != 0 && u.thrDue:
		id = iirTHRI
	case u.ier&ierMSI != 0 && u.msr&msrDeltas != 0:
		id = iirMSI
	}
	u.iir = id
	if u.fcr&fcrEnable != 0 {
		u.iir |= iirFIFO
	}
	if on := id != iirNone; on != u.raised {
		u.raised = on
		u.cfg.IRQ.Set(on)
	}
}

// CanReceive returns how many characters Receive will take. When that is 0,
// Space is called as soon as it no longer is.
func (u *UART) CanReceive() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := max(u.room(), 0)
	u.starved = n == 0
	return n
}

// Receive hands characters to the guest. Those beyond CanReceive are lost, and
// the guest sees an overrun.
func (u *UART) Receive(p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, v := range p {
		u.push(v)
	}
	u.update()
}

// Break tells the guest of a break on the line.
func (u *UART) Break() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.push(0)
	u.lsr |= lsrBI | lsrDR
	u.update()
}
