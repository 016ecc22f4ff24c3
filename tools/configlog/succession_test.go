package configlog_test

import (
	"strings"
	"testing"

	"settlewatch/schemas/event"
	"settlewatch/tools/configlog"
)

func TestCheckSuccession(t *testing.T) {
	at := func(n int64) *int64 { return &n }
	const old, young, other = "capture/raw.capture.v1/0/documented@1", "capture/raw.capture.v1/0/vendor@1", "capture/raw.capture.v1/1/vendor@1"
	type sources = []*event.ExpectedSource
	for name, c := range map[string]struct {
		from, to sources
		want     string
	}{
		"the same":             {sources{{Name: old}}, sources{{Name: old}}, ""},
		"a new partition":      {sources{{Name: old}}, sources{{Name: old}, {Name: other}}, ""},
		"unsaid":               {sources{{Name: old}}, sources{{Name: young}}, young + " takes over from documented@1"},
		"from the first":       {sources{{Name: old}}, sources{{Name: young, FromOffset: at(0)}}, ""},
		"in turn":              {sources{{Name: old}}, sources{{Name: old, UntilOffset: at(7)}, {Name: young, FromOffset: at(7)}}, ""},
		"over":                 {sources{{Name: old, UntilOffset: at(7)}, {Name: young, FromOffset: at(7)}}, sources{{Name: young, FromOffset: at(7)}}, ""},
		"another beginning":    {sources{{Name: young, FromOffset: at(7)}}, sources{{Name: young, FromOffset: at(8)}}, "begins at from_offset 7"},
		"the beginning is off": {sources{{Name: young, FromOffset: at(7)}}, sources{{Name: young}}, "begins at from_offset 7"},
		"another end":          {sources{{Name: old, UntilOffset: at(7)}}, sources{{Name: old, UntilOffset: at(9)}}, "ends at until_offset 7"},
		"the end is off":       {sources{{Name: old, UntilOffset: at(7)}}, sources{{Name: old}}, "ends at until_offset 7"},
	} {
		from, to := ordinary(), ordinary()
		from.Groups[0].Sources, to.Groups[0].Sources = c.from, c.to
		err := configlog.CheckSuccession(&configlog.Numbered{Config: from}, to)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := configlog.CheckSuccession(nil, to); err != nil {
			t.Errorf("%s: the first of all: %v", name, err)
		}
	}
}
