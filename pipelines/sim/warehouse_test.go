package sim_test

import (
	"testing"

	"settlewatch/pipelines/sim"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/schemas/table"
)

type simRows struct{ *sim.Warehouse }

func (r simRows) Events(*testing.T) (stored, distinct int) {
	return len(r.Inserted(table.Events.Name)), len(r.Distinct(table.Events))
}

func TestWarehouseConformance(t *testing.T) {
	conformance.Warehouse(t, func(*testing.T) (stage.Warehouse, conformance.WarehouseRows) {
		w := sim.NewWarehouse()
		return w, simRows{w}
	})
}
