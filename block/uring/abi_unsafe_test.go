package uring

import (
	"testing"
	"unsafe"
)

func TestABI(t *testing.T) {
	for name, c := range map[string][2]uintptr{
		"io_uring_sqe":    {unsafe.Sizeof(SQE{}), 64},
		"io_uring_cqe":    {unsafe.Sizeof(CQE{}), 16},
		"io_uring_params": {unsafe.Sizeof(params{}), 120},
		"user_data":       {unsafe.Offsetof(SQE{}.UserData), 32},
		"sq_off":          {unsafe.Offsetof(params{}.SQ), 40},
		"cq_off":          {unsafe.Offsetof(params{}.CQ), 80},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %d, not %d", name, c[0], c[1])
		}
	}
}
