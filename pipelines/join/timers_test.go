package join

import (
	"testing"

	"pgregory.net/rapid"
)

// A far timer has of its moment and its place all that is looked at.
func TestAFarTimerIsATimer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment, hash := rapid.Int64().Draw(t, "moment"), rapid.Uint64().Draw(t, "hash")
		got := farTimerOf(moment, hash).timer(moment >> slotShift)
		if got.moment != moment || bucketOf(got.hash) != bucketOf(hash) || uint32(got.hash) != uint32(hash) {
			t.Fatalf("the timer of %d for %x is one of %d for %x", moment, hash, got.moment, got.hash)
		}
	})
}
