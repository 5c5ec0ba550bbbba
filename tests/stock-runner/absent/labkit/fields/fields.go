// Package fields holds the one name of a log field that the runner asks for. No field has a second name here.
package fields

const (
	HTTPStatusCode = "status"
	DurationS      = "duration_s"
)

// Replacement is the new name of an old field.
type Replacement struct{ Standard string }

var (
	Deprecated     = map[string]Replacement{}
	VariantVersion = map[string]int{}
)
