package join

import (
	"errors"
	"testing"

	"settlewatch/pipelines/hop"
	"settlewatch/schemas/event"
)

func TestReadMeta(t *testing.T) {
	s := New()
	s.configNumber, s.counts = 3, Counts{Events: 5, Repeats: 1, Alerts: 2}
	s.config = &event.Config{Groups: []*event.Group{
		{Name: "g", Sources: []*event.ExpectedSource{{Name: "a/t/0/p@1"}, {Name: "b/t/0/p@1"}}},
		{Name: "waits", Sources: []*event.ExpectedSource{{Name: "c/t/0/p@1"}}},
	}}
	s.hop = hop.NewReader(
		[]hop.Position{{Source: "a/t/0/p@1", Offset: 4, T: 70}, {Source: "b/t/0/p@1", Offset: 9, T: 50}},
		[]hop.Group{{Name: "g", Sources: []string{"a/t/0/p@1", "b/t/0/p@1"}, Frontier: 50}, {Name: "waits", Sources: []string{"c/t/0/p@1"}, Frontier: hop.Never}})
	b, err := s.encodeMeta(Position{Offset: 17})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMeta(b)
	if err != nil {
		t.Fatal(err)
	}
	if m.Position.Offset != 17 || m.ConfigNumber != 3 || m.Counts != s.counts || len(m.Config.GetGroups()) != 2 || len(m.Groups) != 2 {
		t.Errorf("read back %+v", m)
	}
	if source, at := m.Holder(0); source != "b/t/0/p@1" || at != 50 {
		t.Errorf("group 0 is held by %s at %d", source, at)
	}
	if source, at := m.Holder(1); source != "c/t/0/p@1" || at != hop.Never {
		t.Errorf("group 1 is held by %s at %d; want the source that never marked", source, at)
	}
}

func TestReadMetaRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `{"format":1,"packed_config":"AA=="}`} {
		if _, err := ReadMeta([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if _, err := ReadMeta([]byte(`{"format":99}`)); !errors.Is(err, ErrNewerState) {
		t.Errorf("a newer format: %v, want ErrNewerState", err)
	}
}
