package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A merged part with an empty file of marks, which is what a full disk leaves: it is
// found, and the parts that it was merged from stand in for it.
func TestDamagedPart(t *testing.T) {
	f := open(t)
	f.exec(t, "SYSTEM START MERGES db.payments")
	for _, key := range []string{"acq1|o|1", "acq1|o|2"} {
		f.exec(t, "INSERT INTO db.payments (payment_key, life, version) VALUES ('"+key+"', 'aa', 1)")
	}
	if found, err := f.Damaged(t.Context(), nil); err != nil || len(found) > 0 {
		t.Fatalf("damaged %v, %v; want nothing", found, err)
	}
	f.exec(t, "OPTIMIZE TABLE db.payments FINAL")
	path := f.lines(t, "SELECT path FROM system.parts WHERE active AND database || '.' = 'db.' AND table = 'payments'")
	if len(path) != 1 {
		t.Fatalf("parts %v, want one", path)
	}
	marks, err := filepath.Glob(filepath.Join(path[0], "data.*mrk*"))
	if err != nil || len(marks) != 1 {
		t.Fatalf("marks %v, %v", marks, err)
	}
	if err := os.Truncate(marks[0], 0); err != nil {
		t.Fatal(err)
	}
	var last, total int64
	found, err := f.Damaged(t.Context(), func(done, of int64) { last, total = done, of })
	if err != nil || len(found) != 1 || found[0].Table != "payments" || found[0].Part != filepath.Base(path[0]) || found[0].Reason == "" {
		t.Fatalf("damaged %+v, %v; want %s", found, err, path[0])
	}
	if last != total || total == 0 {
		t.Errorf("progress ended at %d of %d bytes", last, total)
	}
	if err := f.LoadAgain(t.Context(), found); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Damaged(t.Context(), nil); err != nil || len(again) > 0 {
		t.Fatalf("damaged %v, %v; want nothing any more", again, err)
	}
	if got := strings.Join(f.lines(t, "SELECT payment_key FROM db.payments ORDER BY 1"), " "); got != "acq1|o|1 acq1|o|2" {
		t.Errorf("rows %s", got)
	}
}
