//go:build !race

package blocktest

// pooled says that a sync.Pool gives back what was put into it.
const pooled = true
