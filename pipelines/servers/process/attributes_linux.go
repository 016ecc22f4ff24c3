package process

import "syscall"

// attributes puts the child into a group of its own and, if dieWithParent, has the
// kernel kill it when the starting thread ends.
func attributes(dieWithParent bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if dieWithParent {
		a.Pdeathsig = syscall.SIGKILL
	}
	return a
}
