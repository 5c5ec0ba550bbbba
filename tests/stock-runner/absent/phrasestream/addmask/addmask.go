// Package addmask stands for a part of a helper command that no job of the shell executor runs.
package addmask

import (
	"errors"
	"io"
)

// AddMask is never made.
type AddMask struct{}

// New refuses: output of helper commands cannot be masked in this build.
func New(any, ...io.Writer) (*AddMask, error) {
	return nil, errors.New("this build has no proxy-exec")
}

func (*AddMask) Get(int) io.Writer { return io.Discard }
func (*AddMask) Close() error      { return nil }
