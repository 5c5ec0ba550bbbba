// Package oidc stands for the credentials of reports that this build does not make.
package oidc

type Option struct{}

func WithSkipIfUnsupportedCloud(bool) Option { return Option{} }
func NewSource(...Option) any                { return nil }
