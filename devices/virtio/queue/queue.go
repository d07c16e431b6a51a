// Package queue implements virtqueues, split and packed.
package queue

// Queue is one virtqueue.
type Queue struct{}
