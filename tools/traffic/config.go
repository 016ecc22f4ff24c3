package traffic

import (
	"settlewatch/schemas/event"
	"settlewatch/schemas/ruleset"
)

// Config is the CONFIG under which the Truth holds: the ordinary terms for every
// acquirer, and the same with gross refunds for GrossAcquirer. Both groups wait
// for the same sources, because both are in the same feeds.
func Config(abilities ruleset.Abilities, sources ...*event.ExpectedSource) *event.Config {
	c := ruleset.Default(abilities, sources...)
	terms := ruleset.DefaultTerms()
	terms.Refunds = event.RefundMode_REFUND_MODE_GROSS
	c.Groups = append(c.Groups, &event.Group{
		Name: "gross-refunds", Acquirers: []string{GrossAcquirer}, Sources: sources, Terms: terms,
	})
	return c
}

// Sources are the partitions that the traffic fills, as the ingest services name
// them with that profile and version. Their marks are played.
func (g *Generator) Sources(profile string, version uint32) []*event.ExpectedSource {
	var out []*event.ExpectedSource
	for f := range feedCount {
		for partition := range g.opt.Partitions[f] {
			name := event.Source{
				Service: f.Service(), Topic: f.Topic().Name, Partition: int32(partition),
				Profile: profile, Version: version,
			}
			out = append(out, &event.ExpectedSource{Name: name.String(), Clock: event.Clock_CLOCK_PLAYED})
		}
	}
	return out
}
