package world

import (
	"fmt"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
)

// Flaw is a bug that is planted around the product's loops: none of it is in them.
type Flaw struct {
	// Name is how it is asked for, About what the bug is.
	Name, About string
	// Each, where set, changes what a loop is given.
	onAssignment func(w *World, p *process, a *stage.Assignment)
	onIngest     func(w *World, p *process, a *stage.Assignment, i *stage.Ingest)
	onConfigure  func(w *World, p *process, c *stage.Configure)
	onJoin       func(w *World, p *process, a *stage.Assignment, j *stage.Joiner)
	onLoad       func(w *World, p *process, log *stage.Log, rows *stage.Warehouse)
	onStore      func(s *sim.State)
	// lostIsDone and lostRowsAreDone: a request that was lost is taken for done.
	lostIsDone, lostRowsAreDone bool
	// unchecked: a checkpoint is kept as it is read.
	unchecked bool
	// without are kinds of faults that would show the missing of a defence which had
	// to be taken away for the bug to show at all.
	without []string
	// noLateCommits: nor do late copies of a commit arrive, for the same reason.
	noLateCommits bool
	// shape, where set, makes a drawn plan one in which the bug can show.
	shape func(p *Plan)
}

func planted(name string) (*Flaw, error) {
	if name == "" {
		return &Flaw{}, nil
	}
	for i := range Flaws {
		if Flaws[i].Name == name {
			return &Flaws[i], nil
		}
	}
	return nil, fmt.Errorf("no planted bug is called %q", name)
}

func (f *Flaw) assignment(w *World, p *process, a stage.Assignment) stage.Assignment {
	if f.onAssignment != nil {
		f.onAssignment(w, p, &a)
	}
	return a
}

func (f *Flaw) ingest(w *World, p *process, a *stage.Assignment, i *stage.Ingest) {
	if f.onIngest != nil {
		f.onIngest(w, p, a, i)
	}
}

func (f *Flaw) configure(w *World, p *process, c *stage.Configure) {
	if f.onConfigure != nil {
		f.onConfigure(w, p, c)
	}
}

func (f *Flaw) join(w *World, p *process, a *stage.Assignment, j *stage.Joiner) {
	if f.onJoin != nil {
		f.onJoin(w, p, a, j)
	}
}

func (f *Flaw) load(w *World, p *process, log *stage.Log, rows *stage.Warehouse) {
	if f.onLoad != nil {
		f.onLoad(w, p, log, rows)
	}
}

func (f *Flaw) store(s *sim.State) {
	if f.onStore != nil {
		f.onStore(s)
	}
}
