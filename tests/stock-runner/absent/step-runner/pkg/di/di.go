// Package di stands for the making of a server of steps, which this build refuses.
package di

import (
	"errors"
	"log/slog"

	"gitlab.com/gitlab-org/step-runner/pkg/runner"
	"gitlab.com/gitlab-org/step-runner/proto"
)

type Container struct{}

func WithBuiltinFunc(string, runner.BuiltinFunction) func(*Container) { return func(*Container) {} }
func WithOperatorLogger(*slog.Logger) func(*Container)                { return func(*Container) {} }
func NewContainer(...func(*Container)) *Container                     { return &Container{} }

func (*Container) StepRunnerService() (proto.StepRunnerServer, error) {
	return nil, errors.New("this build runs no steps")
}
