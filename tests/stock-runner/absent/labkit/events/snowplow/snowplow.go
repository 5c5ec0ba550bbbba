// Package snowplow stands for reports of use to a collector. This build reports nothing to anybody.
package snowplow

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

var errAbsent = errors.New("this build reports no use")

type (
	SendResult struct {
		EventCount, StatusCode int
		Err                    error
	}
	SendCallback  func(successes, failures []SendResult)
	EmitterOption struct{}
	Emitter       struct{}
	Tracker       struct{}

	BillingEventRequiredInput struct {
		Category, EventType, Realm, UnitOfMeasure string
		Quantity                                  float64
	}
	BillingEventOptionalInput struct {
		Subject, DeploymentType, InstanceID, UniqueInstanceID string
		Metadata                                              map[string]any
		ProjectID, NamespaceID, RootNamespaceID               int64
		OrganizationID                                        int64
	}
)

func WithCallback(SendCallback) EmitterOption               { return EmitterOption{} }
func WithTokenSource(any) EmitterOption                     { return EmitterOption{} }
func WithMetricsCollectorOptions(...any) EmitterOption      { return EmitterOption{} }
func NewEmitter(string, ...EmitterOption) (*Emitter, error) { return nil, errAbsent }
func (*Emitter) Collector() prometheus.Collector            { return nil }
func NewTracker(string, *Emitter) (*Tracker, error)         { return nil, errAbsent }
func (*Tracker) Stop()                                      {}

func (*Tracker) TrackBillingEventWithOptionalInput(BillingEventRequiredInput, BillingEventOptionalInput) error {
	return errAbsent
}
