//go:build race

package blocktest

// pooled says that a sync.Pool gives back what was put into it. The race detector has it
// forget things at random, so that allocations can't be counted.
const pooled = false
