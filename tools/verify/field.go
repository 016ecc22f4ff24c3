package verify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"settlewatch/pipelines/join"
	"settlewatch/schemas/event"
)

// compareMeta finds the first field in which two metas differ, by name; nil where
// they are equal.
func compareMeta(stored, folded []byte) (*Difference, error) {
	if bytes.Equal(stored, folded) {
		return nil, nil
	}
	var s, f map[string]json.RawMessage
	if err := json.Unmarshal(stored, &s); err != nil {
		return nil, fmt.Errorf("decode the stored meta: %w", err)
	}
	if err := json.Unmarshal(folded, &f); err != nil {
		return nil, fmt.Errorf("decode the folded meta: %w", err)
	}
	all := maps.Clone(s)
	maps.Copy(all, f)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		// What payments there are says more than the sums over them.
		if name != "checksum" && name != "payments" && !bytes.Equal(s[name], f[name]) {
			return &Difference{Field: name, Stored: short(s[name]), Folded: short(f[name])}, nil
		}
	}
	return &Difference{Field: "checksum", Stored: short(s["checksum"]), Folded: short(f["checksum"])}, nil
}

const shortBytes = 200

func short(value []byte) string {
	if value == nil {
		return "absent"
	}
	return fmt.Sprintf("%.*s", shortBytes, value)
}

// comparePayments names the first field in which two packed payments differ.
func comparePayments(meta []byte, key event.PaymentKey, stored, folded []byte) Difference {
	d := Difference{Payment: string(key), Field: "packed form"}
	s, err := join.Explain(meta, stored)
	if err != nil {
		d.Field, d.Stored, d.Folded = "payment", fmt.Sprintf("cannot be read: %v", err), "readable"
		return d
	}
	f, err := join.Explain(meta, folded)
	if err != nil {
		d.Stored, d.Folded = "readable", fmt.Sprintf("cannot be read: %v", err)
		return d
	}
	x, y := reflect.ValueOf(s), reflect.ValueOf(f)
	for i := range x.NumField() {
		a, b := x.Field(i).Interface(), y.Field(i).Interface()
		if !reflect.DeepEqual(a, b) {
			d.Field, d.Stored, d.Folded = x.Type().Field(i).Name, short(fmt.Appendf(nil, "%+v", a)), short(fmt.Appendf(nil, "%+v", b))
			return d
		}
	}
	d.Stored, d.Folded = fmt.Sprintf("%d bytes", len(stored)), fmt.Sprintf("%d other bytes", len(folded))
	return d
}
