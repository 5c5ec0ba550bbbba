// Package ast names the shapes of parsed templates, of which there are none.
package ast

type Expr interface{ Walk(Visitor) (Expr, error) }

type Visitor interface {
	Enter(Expr) (Visitor, error)
	Exit(Expr) (Expr, error)
}

// Template is never made.
type Template struct{}

func (it *Template) Walk(Visitor) (Expr, error) { return it, nil }
