package bench

import (
	"strings"
	"testing"
	"time"
)

func TestLoadFitsOnDisk(t *testing.T) {
	p := LatencyPlan{EventsPerSecond: 100_000, Duration: 5 * time.Minute}
	need := p.diskBytes(p.Duration)
	if events := int64(100_000 * 315); need < events*400 || need > events*600 {
		t.Errorf("%d events need %d bytes", events, need)
	}
	if err := p.FitsOnDisk(need); err != nil {
		t.Errorf("what is needed is there: %v", err)
	}
	err := p.FitsOnDisk(need - 1)
	if err == nil || !strings.Contains(err.Error(), "enough for 4m59s") {
		t.Errorf("one byte is missing: %v", err)
	}
	// The length that is named does fit; where there is room for none, none is.
	p.Duration = 299 * time.Second
	if err := p.FitsOnDisk(need - 1); err != nil {
		t.Error(err)
	}
	if err := p.FitsOnDisk(0); err == nil || !strings.HasSuffix(err.Error(), "enough for 0s") {
		t.Errorf("a full disk: %v", err)
	}
}

func TestRowFitsMemoryAndDisk(t *testing.T) {
	p := ScalePlan{Payments: 10_000_000, LogPartitions: 4, Joiners: 1}
	need := p.Need(nil)
	enough := Room{MemoryBytes: need.MemoryBytes, DiskBytes: need.DiskBytes}
	if !need.Fits(enough) {
		t.Errorf("%+v does not fit into what it needs", need)
	}
	for _, less := range []Room{{enough.MemoryBytes - 1, enough.DiskBytes}, {enough.MemoryBytes, enough.DiskBytes - 1}} {
		if need.Fits(less) {
			t.Errorf("%+v fits into %+v", need, less)
		}
	}
	// The number that is named fits, whichever of both is short.
	for _, half := range []Room{{enough.MemoryBytes / 2, enough.DiskBytes}, {enough.MemoryBytes, enough.DiskBytes / 2}} {
		fewer := p
		fewer.Payments = need.payments(half)
		if now := fewer.Need(nil); fewer.Payments < p.Payments/4 || !now.Fits(half) {
			t.Errorf("%d payments would fit into %+v, but need %+v", fewer.Payments, half, now)
		}
	}
	// A row that was measured tells more than the guess.
	measured := []ScaleResult{{Payments: p.Payments, FillPerSecond: 400_000, JoinerPeakBytes: 300, RedisPeakBytes: 130}}
	if now := p.Need(measured); now.MemoryBytes >= need.MemoryBytes || now.Time >= need.Time {
		t.Errorf("%+v before, %+v by what was measured", need, now)
	}
}

func TestFreeDiskBytes(t *testing.T) {
	if free, err := FreeDiskBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d bytes, %v", free, err)
	}
	if _, err := FreeDiskBytes("no such folder"); err == nil {
		t.Error("a folder that is not there has room")
	}
}
