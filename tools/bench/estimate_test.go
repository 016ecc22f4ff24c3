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

func TestFreeDiskBytes(t *testing.T) {
	if free, err := FreeDiskBytes(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("%d bytes, %v", free, err)
	}
	if _, err := FreeDiskBytes("no such folder"); err == nil {
		t.Error("a folder that is not there has room")
	}
}
