package faults

import (
	"fmt"
	"runtime"
	"strings"
)

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d faults, %s, %d CPUs, %s\n", len(r.Results), r.Versions, runtime.NumCPU(), r.Began.UTC().Format("2006-01-02"))
	return b.String()
}
