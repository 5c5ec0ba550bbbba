// Package proto names the messages of a server of steps, none of which is sent.
package proto

type (
	ValueType        int
	StepRunnerServer any
	Spec             struct{ Spec *Spec_Content }
	Spec_Content     struct {
		Inputs map[string]*Spec_Content_Input
	}
	Spec_Content_Input struct{ Type ValueType }
)

const ValueType_string ValueType = 1

func RegisterStepRunnerServer(any, StepRunnerServer) {}
