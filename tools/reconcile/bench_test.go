package reconcile_test

import (
	"flag"
	"os"
	"runtime"
	"syscall"
	"testing"

	"settlewatch/pipelines/profile"
	"settlewatch/schemas/ruleset"
	"settlewatch/tools/bench"
	"settlewatch/tools/reconcile"
)

var benchPayments = flag.Int64("payments", 200_000, "payments of BenchmarkRun")

// BenchmarkRun is what `settlewatch bench reconcile` measures, without the process
// around it: the bench's workload from files, on one processor.
func BenchmarkRun(b *testing.B) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := bench.Workload{Payments: *benchPayments, Partitions: 1}
	files, err := w.WriteFiles(b.TempDir(), func(int64, int64) {})
	if err != nil {
		b.Fatal(err)
	}
	profileText, err := os.ReadFile(files.Profile)
	if err != nil {
		b.Fatal(err)
	}
	p, err := profile.Parse(profileText)
	if err != nil {
		b.Fatal(err)
	}
	rulesText, err := os.ReadFile(files.Rules)
	if err != nil {
		b.Fatal(err)
	}
	rules, err := ruleset.Parse(rulesText)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	least := int64(0) // of what a shared machine takes, the smallest says most
	for b.Loop() {
		runtime.GC()
		before := cpuNs(b)
		r, err := reconcile.Run(b.Context(), reconcile.Options{Files: files.Lines, Profile: p, Config: rules, AsOfMs: w.EndMs()})
		if err != nil {
			b.Fatal(err)
		}
		if took := cpuNs(b) - before; least == 0 || took < least {
			least = took
		}
		if len(r.Alerts) != len(w.Truth()) || r.Summary.Rejected > 0 {
			b.Fatalf("%d alerts of %d, %d rejected", len(r.Alerts), len(w.Truth()), r.Summary.Rejected)
		}
	}
	b.ReportMetric(float64(least)/float64(files.Count), "cpu-ns/line")
}

func cpuNs(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
