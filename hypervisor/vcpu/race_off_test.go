//go:build !race

package vcpu

// raceEnabled says that the race detector slows everything down.
const raceEnabled = false
