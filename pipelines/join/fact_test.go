package join

import (
	"testing"

	"settlewatch/schemas/event"
)

// known counts the values of an enum instead of looking one up.
func TestEnumsHaveNoGaps(t *testing.T) {
	for name, names := range map[string]map[int32]string{
		"kind": event.Kind_name, "operation": event.Operation_name, "outcome": event.Outcome_name,
		"mode": event.Mode_name, "stage": event.Stage_name, "adjustment target": event.AdjustmentTarget_name,
	} {
		for value := int32(-3); value < int32(len(names))+3; value++ {
			want := value
			if _, is := names[value]; !is {
				want = 0
			}
			if got := known(value, names); got != want {
				t.Errorf("%s %d is taken as %d, want %d", name, value, got, want)
			}
		}
	}
}
