// Package metrics stands for the options of reports that this build does not make.
package metrics

type CollectorOption = any

func WithCollectorNamespace(string) CollectorOption                       { return nil }
func WithCollectorBatchDeliveryDurationBuckets([]float64) CollectorOption { return nil }
