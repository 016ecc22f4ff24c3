// Package faults breaks a running Settlewatch in every way that is on its list, on
// real servers and under load, and holds what comes out to the invariants.
//
// What enters: which faults, how often, a seed. What leaves: for each fault its runs,
// violations, times to recover and peak memory. Guaranteed: every run begins with
// empty servers and new processes; a run's randomness follows from its seed, though
// what the machine makes of it does not; nothing that was started is left behind.
package faults

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"settlewatch/pipelines/oracle/invariant"
	"settlewatch/tools/traffic"
)

// Scenario is one fault.
type Scenario struct {
	Number int
	Name   string
	// Holds are the invariants that the fault is about; all are checked.
	Holds []string
	// Instead says what stands in for a fault that the design has made impossible,
	// and Scale by how much its times are shorter.
	Instead, Scale string
	// Quick scenarios are the half that every change goes through.
	Quick bool

	// traffic and env change what a run begins with; nil changes nothing.
	traffic func(*traffic.Options)
	env     func(service string) []string
	// disks asks for servers on small disks of their own, which can be filled.
	disks bool
	// live has marks by the services' clocks and traffic of the present, which inject
	// feeds, and brings to rest, itself.
	live bool
	// prepare stands up what the services of this scenario need beside the ground,
	// before they start.
	prepare func(w *world) error
	// order changes what is fed, or its order.
	order func(w *world, records iter.Seq[traffic.Record]) iter.Seq[traffic.Record]
	// inject feeds, breaks, and measures. What it has not fed is fed afterwards.
	inject func(w *world) error
	// mostSeconds bounds the time to recover. Defaults to 30.
	mostSeconds float64
	// patience bounds every wait. Defaults to 90 s.
	patience time.Duration
	// mostMiB bounds the memory of a service, by its name. Defaults to 512.
	mostMiB map[string]float64
}

// Scenarios are all faults, by number.
func Scenarios() []Scenario {
	all := slices.Concat(joinerScenarios, redisScenarios, clusterScenarios, recoveryScenarios, kafkaScenarios, clickHouseScenarios, feedScenarios, liveScenarios, backlogScenarios, diskScenarios, upgradeScenarios)
	slices.SortStableFunc(all, func(a, b Scenario) int { return a.Number - b.Number })
	return all
}

// label tells scenarios of one number apart, in names of folders: 10, 10b, 10c.
func (s Scenario) label() string {
	variant := 0
	for _, other := range Scenarios() {
		if other.Number == s.Number {
			if other.Name == s.Name {
				break
			}
			variant++
		}
	}
	if variant == 0 {
		return fmt.Sprintf("%02d", s.Number)
	}
	return fmt.Sprintf("%02d%c", s.Number, 'a'+variant)
}

const (
	i1 = invariant.I1
	i2 = invariant.I2
	i3 = invariant.I3
	i4 = invariant.I4
	i5 = invariant.I5
	i6 = invariant.I6
	i7 = invariant.I7
)
