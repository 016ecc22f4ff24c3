package stack

import (
	"fmt"
	"os"
	"runtime"
)

// Machine is what a measurement was taken on: its CPUs, and its memory where that can be
// asked, as in "2 CPUs, 24 GiB".
func Machine() string {
	cpus := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return cpus
	}
	var kib int64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err != nil {
		return cpus
	}
	return fmt.Sprintf("%s, %.0f GiB", cpus, float64(kib)/(1<<20))
}
