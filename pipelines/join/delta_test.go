package join

import "testing"

// What a backlog's commits need stays; behind it, no partition keeps what it took for one.
func TestReuseGivesBack(t *testing.T) {
	large := make([]byte, 4*keptBytes)
	for _, c := range []struct {
		b     []byte
		taken int
		keeps bool
	}{
		{large, len(large), true},
		{large, len(large) / 4, true},
		{large, 100, false},
		{large[:keptBytes:keptBytes], 100, true},
		{nil, 0, true},
	} {
		if got := reuse(c.b, c.taken); len(got) > 0 || (cap(got) == cap(c.b)) != c.keeps {
			t.Errorf("of %d bytes, %d taken: %d are kept, all of them: want %t", cap(c.b), c.taken, cap(got), c.keeps)
		}
	}
}
