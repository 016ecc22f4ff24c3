package invariant

import (
	"bytes"
	"fmt"

	"settlewatch/schemas/alert"
)

// AlertsAreTheOracles is I2: the published bodies are the oracle's revisions, no
// more and no fewer; every repeat is byte for byte the same; and of each alert the
// first copies stand in the order of their revisions. got are the alert topics'
// records, each partition in its order.
func AlertsAreTheOracles(want []*alert.Alert, got [][]byte) []Violation {
	l := list{invariant: I2}
	expected := make(map[string][]byte, len(want))
	for _, a := range want {
		body, err := a.Encode()
		if err != nil {
			l.add(revisionName(a), "encode the oracle's: %v", err)
			continue
		}
		expected[revisionName(a)] = body
	}
	seen := map[string]bool{}
	highest := map[string]uint32{}
	for _, body := range got {
		a, err := alert.Decode(body)
		if err != nil {
			l.add("alert topic", "%v: %.200q", err, body)
			continue
		}
		name := revisionName(a)
		should, known := expected[name]
		switch {
		case !known:
			l.add(name, "invented: %s", body)
		case !bytes.Equal(body, should):
			l.add(name, "published %s\nthe oracle has %s", body, should)
		case !seen[name] && a.Revision != highest[a.ID]+1:
			l.add(name, "came first when the highest revision was %d", highest[a.ID])
		}
		seen[name] = true
		highest[a.ID] = max(highest[a.ID], a.Revision)
	}
	for _, a := range want {
		if name := revisionName(a); !seen[name] {
			l.add(name, "lost: %s", expected[name])
		}
	}
	return l.found
}

func revisionName(a *alert.Alert) string { return fmt.Sprintf("%s:%d", a.ID, a.Revision) }
