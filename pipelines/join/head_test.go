package join

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"settlewatch/schemas/event"
)

// TestMetaNamesSourcesOnce: every commit writes meta, and an installation has groups with
// hundreds of sources.
func TestMetaNamesSourcesOnce(t *testing.T) {
	const groups, sources = 40, 30
	config := testConfig(nil)
	first := config.Groups[0]
	names := make([]*event.ExpectedSource, 0, sources)
	for n := range sources {
		names = append(names, &event.ExpectedSource{Name: fmt.Sprintf("settlement/raw.settlement.v1/%d/settlement@1", n), Clock: event.Clock_CLOCK_LIVE})
	}
	config.Groups = nil
	for g := range groups {
		config.Groups = append(config.Groups, &event.Group{Name: fmt.Sprintf("group-%d", g), Sources: names, Terms: first.Terms})
	}
	config.Groups[0].Acquirers = first.Acquirers
	s := New()
	if err := s.Step(configRecord(config, 0), new(Output)); err != nil {
		t.Fatal(err)
	}
	c, err := NewRecorder(s).Commit(1, Position{})
	if err != nil {
		t.Fatal(err)
	}
	if plain := config.SizeVT(); len(c.Meta) > plain/4 {
		t.Errorf("meta has %d B, CONFIG %d", len(c.Meta), plain)
	}
	m, err := ReadMeta(c.Meta)
	if err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(m.Config, config) {
		t.Error("another CONFIG")
	}
	for g := range groups {
		if got := m.Groups[g].Sources; len(got) != sources || got[7] != names[7].Name {
			t.Fatalf("sources of group %d are %q", g, got)
		}
	}
	if loaded, _, err := Load(c.Meta, c.Buckets, [][]byte{c.Delta}); err != nil {
		t.Error(err)
	} else if got := loaded.hop.Groups()[3]; len(got.Sources) != sources || loaded.hop.Holder(3) != names[0].Name {
		t.Errorf("group 3 is loaded as %v, held by %q", got, loaded.hop.Holder(3))
	}

	broken := strings.Replace(string(c.Meta), `"packed_config":"`, `"packed_config":"AAAA`, 1)
	if _, _, err := Load([]byte(broken), nil, nil); err == nil || !strings.Contains(err.Error(), "stored configuration") {
		t.Errorf("a damaged CONFIG: %v", err)
	}
}
