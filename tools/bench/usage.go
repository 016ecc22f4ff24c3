package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTicksPerSecond is the unit of CPU times in /proc: USER_HZ, 100 on every Linux.
const clockTicksPerSecond = 100

// A usage is what a moment's look at the machine shows.
type usage struct {
	at time.Time
	// cpu is user and system time in seconds, by process id.
	cpu map[int]float64
	// machine is the busy time of all cores in seconds.
	machine float64
}

// look reads the clocks of the processes.
func look(pids ...int) (usage, error) {
	u := usage{at: time.Now(), cpu: make(map[int]float64, len(pids))}
	for _, pid := range pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return u, err
		}
		u.cpu[pid] = seconds
	}
	var err error
	u.machine, err = machineSeconds()
	return u, err
}

func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	// The command's name, in brackets, may hold anything. Behind it the 12th and 13th
	// fields are user and system time.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read CPU time of process %d: %d fields", pid, len(fields))
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("read CPU time of process %d: %q, %q", pid, fields[11], fields[12])
	}
	return float64(user+system) / clockTicksPerSecond, nil
}

// machineSeconds is what all cores have worked since the start of the machine.
func machineSeconds() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU time of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq …
	var ticks int64
	for _, n := range []int{1, 2, 3, 6, 7} {
		if n >= len(fields) {
			return 0, fmt.Errorf("read CPU time of the machine: %q", line)
		}
		v, err := strconv.ParseInt(fields[n], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time of the machine: %w", err)
		}
		ticks += v
	}
	return float64(ticks) / clockTicksPerSecond, nil
}

// statusBytes reads a size from /proc/PID/status: VmHWM is the peak of resident
// memory, VmRSS what it is now.
func statusBytes(pid int, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read %s of process %d: %w", name, pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read %s of process %d: %w", name, pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("read %s of process %d: it is not there", name, pid)
}

// forgetPeak makes VmHWM count anew: a server outlives the runs that it serves.
func forgetPeak(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak memory of process %d: %w", pid, err)
	}
	return nil
}
