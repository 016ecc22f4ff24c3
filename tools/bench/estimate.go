package bench

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// What is taken for granted where nothing was measured yet: rates of two cores, and
// bytes for each payment at the peak, garbage that was not yet collected included.
const (
	guessFeedPerSecond = 300_000
	guessPerSecond     = 90_000
	guessOpenBytes     = 900
	guessSettledBytes  = 700
	// fixedBytes are the broker, the ingest services and this program; a row takes
	// fixedSeconds besides what depends on its size.
	fixedBytes   = 3 << 30
	fixedSeconds = 60
	drainSeconds = 150
	// A row that was measured stands for the bytes of larger ones from this size on:
	// below, most of a process is not its payments.
	tellingPayments = 1_000_000
	// rewriteShare: what Redis may need besides while it rewrites its file.
	rewriteShare = 1.3
)

// Need is what a row of the scale measurement will take, about.
type Need struct {
	MemoryBytes, DiskBytes int64
	Time                   time.Duration
	// each payment's bytes of memory, and its events.
	each, perPayment float64
}

// Room is what there is for a measurement.
type Room struct{ MemoryBytes, DiskBytes int64 }

// Fits tells whether there is enough of both.
func (n Need) Fits(in Room) bool {
	return n.MemoryBytes <= in.MemoryBytes && n.DiskBytes <= in.DiskBytes
}

// Need estimates from the rows that were measured before.
func (p ScalePlan) Need(before []ScaleResult) Need {
	each, rate := float64(guessOpenBytes), float64(guessPerSecond)
	if p.Settled {
		each = guessSettledBytes
	}
	for _, r := range before {
		if r.Skipped == "" {
			rate = r.FillPerSecond
		}
		if r.Skipped == "" && r.Settled == p.Settled && r.Payments >= tellingPayments {
			each = r.JoinerPeakBytes + rewriteShare*r.RedisPeakBytes
		}
	}
	fill := Workload{Payments: p.Payments, Unsettled: !p.Settled}.EventCount()
	extra := Workload{Payments: p.Extra}.EventCount()
	seconds := fixedSeconds + float64(fill+extra)*(1.0/guessFeedPerSecond+1/rate)
	if p.Drain {
		seconds += drainSeconds
	}
	return Need{
		MemoryBytes: fixedBytes + int64(each*float64(p.Payments)),
		DiskBytes:   diskBytesRest + (fill+extra)*diskBytesEvent,
		Time:        time.Duration(seconds * float64(time.Second)),
		each:        each, perPayment: float64(fill) / float64(max(p.Payments, 1)),
	}
}

// payments of the kind that the room holds.
func (n Need) payments(in Room) int64 {
	memory := float64(in.MemoryBytes-fixedBytes) / n.each
	disk := float64(in.DiskBytes-diskBytesRest) / (n.perPayment * diskBytesEvent)
	return int64(max(0, min(memory, disk)))
}

// AvailableBytes is the memory that processes could take.
func AvailableBytes() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read the free memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("read the free memory: /proc/meminfo does not say")
}

// What one event leaves on the disk: in the raw topic and in the payment log, and in
// Redis's file until it is rewritten. The rest is for alerts and logs, and for the others
// on that disk.
const (
	diskBytesBroker = 200
	diskBytesRedis  = 250
	diskBytesEvent  = diskBytesBroker + diskBytesRedis
	diskBytesRest   = 2 << 30
)

// diskBytes is what a load of that length leaves on the disk, about.
func (p LatencyPlan) diskBytes(d time.Duration) int64 {
	events := p.top() * (latencyWarmUp + d).Seconds()
	return diskBytesRest + int64(events*diskBytesEvent)
}

// FitsOnDisk is an error where so many free bytes are too few for the load. It says how
// long it could be.
func (p LatencyPlan) FitsOnDisk(freeBytes int64) error {
	const gib = 1 << 30
	need := p.diskBytes(p.Duration)
	if need <= freeBytes {
		return nil
	}
	perSecond := p.diskBytes(time.Second) - p.diskBytes(0)
	longest := time.Duration(max(0, freeBytes-p.diskBytes(0))/perSecond) * time.Second
	return fmt.Errorf("%.0f events/s for %s leave about %.1f GiB on the disk, %.1f GiB are free, enough for %s",
		p.EventsPerSecond, p.Duration, float64(need)/gib, float64(freeBytes)/gib, longest)
}

// FreeDiskBytes is what may still be written in a folder by who is not root.
func FreeDiskBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for the free room of %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// Skip is the row of a plan that there is no room for.
func (p ScalePlan) Skip(n Need, in Room) ScaleResult {
	const gib = 1 << 30
	return ScaleResult{
		Payments: p.Payments, Settled: p.Settled, LogPartitions: p.LogPartitions, Joiners: p.Joiners, Cluster: p.Cluster,
		Skipped: fmt.Sprintf("does not fit: it needs about %.0f GiB of memory and %.0f of disk, %.0f and %.0f are free; about %.1f million would fit",
			float64(n.MemoryBytes)/gib, float64(n.DiskBytes)/gib, float64(in.MemoryBytes)/gib, float64(in.DiskBytes)/gib,
			float64(n.payments(in))/1e6),
	}
}

// guessSeconds is about what a million events take on two cores, start and end of the
// processes not included.
var guessSeconds = map[string]float64{
	VariantOurs: 11, VariantStockRedis: 12, VariantEvents: 15, VariantWarehouse: 20,
	VariantStreams: 12, VariantStreamsExact: 15, VariantFlinkRocksDB: 10, VariantFlinkHashmap: 6,
}

// runSeconds is about what a run takes besides: servers, services and JVMs start and end.
const runSeconds = 14

// Estimate is about how long the plan takes on two cores with nothing else to do.
func (p Plan) Estimate() time.Duration {
	millions := float64(p.Workload.EventCount()) / 1e6
	seconds := millions * 1e6 / guessFeedPerSecond
	if !p.Cold {
		seconds += runSeconds + guessSeconds[VariantOurs]*millions
	}
	for _, v := range p.Variants {
		seconds += float64(p.Rounds) * (runSeconds + guessSeconds[v]*millions)
	}
	return time.Duration(seconds * float64(time.Second))
}
