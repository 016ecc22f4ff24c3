package stack_test

import (
	"regexp"
	"runtime"
	"testing"

	"settlewatch/tools/stack"
)

func TestMachine(t *testing.T) {
	want := `^\d+ CPUs$`
	if runtime.GOOS == "linux" {
		want = `^\d+ CPUs, \d+ GiB$`
	}
	if got := stack.Machine(); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("%q is not as %s", got, want)
	}
}
