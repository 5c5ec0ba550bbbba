// Package client names what a server of steps would be asked and would answer.
package client

import "time"

type (
	State     string
	ErrorKind string

	Status struct {
		State     State
		Message   string
		ErrorKind ErrorKind
	}
	Variable struct {
		Key, Value   string
		File, Masked bool
	}
	RunRequest struct {
		Id, WorkDir, BuildDir, Steps string
		Timeout                      *time.Duration
		Env                          map[string]string
		Variables                    []Variable
	}
)

const (
	StateSuccess   State = "success"
	StateCancelled State = "cancelled"

	ErrorInternal    ErrorKind = "internal"
	ErrorStepFailure ErrorKind = "step_failure"
	ErrorCancelled   ErrorKind = "cancelled"
	ErrorTimeout     ErrorKind = "timeout"
	ErrorUnknown     ErrorKind = "unknown"
)

func (it State) String() string { return string(it) }
