package bench

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTicksPerSecond is the unit of CPU times in /proc: USER_HZ, 100 on every Linux.
const clockTicksPerSecond = 100

// A usage is what a moment's look at the machine shows.
type usage struct {
	at time.Time
	// processes that live, by id.
	processes map[int]processTime
	// machine is the busy time of all cores, interrupts the part of it that no process
	// is charged with: the network between processes, for the most part.
	machine, interrupts float64
}

// processTime is user and system time of a process in seconds.
type processTime struct {
	name   string
	parent int
	own    float64
	// ended is that of its children that have ended and were waited for.
	ended float64
}

// look reads the clocks of all processes.
func look() (usage, error) {
	u := usage{at: time.Now(), processes: map[int]processTime{}}
	var err error
	if u.machine, u.interrupts, err = machineSeconds(); err != nil {
		return u, err
	}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return u, fmt.Errorf("read CPU times: %w", err)
	}
	for _, path := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		one, err := timeOf(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH):
			// It has ended meanwhile.
		case err != nil:
			return u, fmt.Errorf("read CPU time of process %d: %w", pid, err)
		default:
			u.processes[pid] = one
		}
	}
	return u, nil
}

func timeOf(path string) (processTime, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return processTime{}, err
	}
	// The command's name, in brackets, may hold anything. Behind it the 2nd field is
	// the parent, the 12th to 15th are user and system time, its own and its children's.
	begin, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return processTime{}, fmt.Errorf("%q", text)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return processTime{}, fmt.Errorf("%d fields", len(fields))
	}
	var n [5]int64
	for i, at := range []int{1, 11, 12, 13, 14} {
		if n[i], err = strconv.ParseInt(fields[at], 10, 64); err != nil {
			return processTime{}, err
		}
	}
	return processTime{
		name: string(text[begin+1 : end]), parent: int(n[0]),
		own: float64(n[1]+n[2]) / clockTicksPerSecond, ended: float64(n[3]+n[4]) / clockTicksPerSecond,
	}, nil
}

// seconds that a process has used together with its children, those which are measured
// by themselves left out: the child by which Redis rewrites its file is Redis. A
// process that has ended has none.
func (u usage) seconds(pid int, measured map[string]int) float64 {
	p := u.processes[pid]
	sum := p.own + p.ended
	for child, c := range u.processes {
		if c.parent == pid && !isMeasured(child, measured) {
			sum += c.own + c.ended
		}
	}
	return sum
}

func isMeasured(pid int, measured map[string]int) bool {
	for _, m := range measured {
		if m == pid {
			return true
		}
	}
	return false
}

const (
	// othersNamed is how many of the others are told, from a tenth of a second on.
	othersNamed  = 4
	othersLeast  = 0.1
	interrupting = "interrupts"
	gone         = "ended meanwhile"
)

// Other is what somebody who is not measured used.
type Other struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// others are the names that used most of the sum between two looks, besides what is
// measured. What no process is left to account for is of some that have ended.
func others(began, ended usage, measured map[string]int, sum float64) []Other {
	byName := map[string]float64{interrupting: ended.interrupts - began.interrupts}
	for pid, p := range ended.processes {
		if !isMeasured(pid, measured) && !isMeasured(p.parent, measured) {
			byName[p.name] += p.own - began.processes[pid].own
		}
	}
	byName[gone] = sum
	for name, seconds := range byName {
		if name != gone {
			byName[gone] -= seconds
		}
	}
	var all []Other
	for name, seconds := range byName {
		if seconds >= othersLeast {
			all = append(all, Other{name, seconds})
		}
	}
	slices.SortFunc(all, func(a, b Other) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(len(all), othersNamed)]
}

// machineSeconds is what all cores have worked since the start of the machine, and how
// much of it was spent in interrupts.
func machineSeconds() (all, interrupts float64, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read CPU time of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq …
	if len(fields) < 8 {
		return 0, 0, fmt.Errorf("read CPU time of the machine: %q", line)
	}
	ticks := make([]int64, 8)
	for n := 1; n < len(ticks); n++ {
		if ticks[n], err = strconv.ParseInt(fields[n], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("read CPU time of the machine: %w", err)
		}
	}
	busy := ticks[1] + ticks[2] + ticks[3] + ticks[6] + ticks[7]
	return float64(busy) / clockTicksPerSecond, float64(ticks[6]+ticks[7]) / clockTicksPerSecond, nil
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
