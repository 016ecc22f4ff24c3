package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The state is a few thousand large arrays without pointers: to look at them costs the
// collector next to nothing, however many payments there are. So garbage may be 32 MiB in any
// case, and a twentieth of a large state, and the process stays near the size of its state. More
// would cost time too: memory that is used again is in the processor's cache, and a page that
// is touched for the first time is the kernel's work. Go knows a share only, hence it is set anew as the
// state grows.
const (
	garbageBytes   = 32 << 20
	garbagePercent = 5
	// garbageMost is for a joiner that has just begun.
	garbageMost  = 400
	garbageEvery = time.Second

	// Go keeps a tenth of a heap for what comes next. Of one that grows by a tenth in hours it
	// is given back: from returnFrom on, every returnEvery.
	returnFrom  = 1 << 30
	returnEvery = 10 * time.Second
)

// garbageShare is how much garbage there may be, in percent of what lives.
func garbageShare(liveBytes uint64) int {
	return int(min(garbageMost, max(garbagePercent, garbageBytes*100/max(liveBytes, 1))))
}

// keepGarbage tells the collector how much garbage may be there, and gives back what is
// free, until ctx is done. GOGC says otherwise.
func keepGarbage(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(garbageEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	returned := time.Now()
	for last := 0; ; {
		metrics.Read(sample)
		live := sample[0].Value.Uint64()
		// Each change stops the process for a moment.
		if share := garbageShare(live); share > last+last/8 || share < last-last/8 {
			last = share
			debug.SetGCPercent(share)
		}
		if live >= returnFrom && time.Since(returned) >= returnEvery {
			debug.FreeOSMemory()
			returned = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
