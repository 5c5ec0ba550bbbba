// Package api stands for the control of a runner that another process wraps, which these tests do not do.
package api

import (
	"context"
	"errors"
)

// ErrProcessNotInitialized says that nothing was started.
var ErrProcessNotInitialized = errors.New("process not initialized")

// Status is a wrapped process's state.
type Status int

const (
	StatusUnknown Status = iota
	StatusRunning
	StatusInShutdown
	StatusStopped
)

func (Status) String() string { return "unknown" }

// ShutdownCallback is never made.
type ShutdownCallback interface{ Run(ctx context.Context) }

// ShutdownCallbackDef describes none.
type ShutdownCallbackDef interface {
	URL() string
	Method() string
}

// InitGracefulShutdownRequest is never sent.
type InitGracefulShutdownRequest interface{ ShutdownCallbackDef() ShutdownCallbackDef }

// NewShutdownCallback makes none.
func NewShutdownCallback(any, ShutdownCallbackDef) ShutdownCallback { return nil }
