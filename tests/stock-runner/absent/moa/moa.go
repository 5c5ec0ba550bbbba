// Package moa stands for the language of a job's inputs. A server that fills inputs in itself sends none, so that
// nothing here is ever asked.
package moa

import (
	"errors"

	"gitlab.com/gitlab-org/moa/ast"
)

// ParseTemplate refuses: this build has no such language.
func ParseTemplate(string) (ast.Expr, error) { return nil, errors.New("this build has no job inputs") }

// EscapeTemplate returns the text, in which nothing means anything.
func EscapeTemplate(text string) string { return text }
