package warehouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// A table with so many parts that it refuses inserts is merged, and takes inserts again:
// the least number of parts of a merge is never above the most that the server allows.
func TestMergesEndTooManyParts(t *testing.T) {
	f := open(t)
	for _, name := range []string{"events", "payments", "alert_revisions"} {
		t.Run(name, func(t *testing.T) {
			// Few parts are too many, and no insert is delayed before that.
			f.exec(t, "ALTER TABLE db."+name+" MODIFY SETTING parts_to_throw_insert = 64, parts_to_delay_insert = 1000")
			parts := 0
			insert := func() error { // the same row twice would be dropped
				return f.conn.Exec(t.Context(), f.named(fmt.Sprintf("INSERT INTO db.%s (payment_key) VALUES ('acq1|o|%d')", name, parts)))
			}
			for insert() == nil {
				if parts++; parts > 64 {
					t.Fatalf("%d parts, and no insert is refused", parts)
				}
			}
			f.exec(t, "SYSTEM START MERGES db."+name)
			_, err := backoff.Retry(t.Context(), func() (bool, error) { return true, insert() },
				backoff.WithBackOff(backoff.NewConstantBackOff(50*time.Millisecond)), backoff.WithMaxElapsedTime(30*time.Second))
			if err != nil {
				t.Errorf("refused at %d parts, and still: %v", parts, err)
			}
		})
	}
}
