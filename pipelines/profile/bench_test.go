package profile_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"settlewatch/pipelines/profile"
)

// The same thousand lines in each format; lines/s is what it is about.
func BenchmarkRead(b *testing.B) {
	const count = 1000
	fields := `
    zone: Asia/Shanghai
    layout: "2006-01-02 15:04:05"
    fields: {acquirer: {const: a}, order_id: order, merchant_id: m, currency: {const: CNY}, batch_id: batch,
      line_id: id, business_time: time, gross: amount, stage: {column: state, map: {paid: paid_out}},
      cycle: '=field("psp") == "x" ? "D+1" : "T+1"'}
    kind: line
    where: field("state") != "failed"
`
	row := func(i int) []string {
		return []string{fmt.Sprintf("O%08d", i), "898310253110001", "B1", fmt.Sprintf("L%d", i), "2025-09-23 10:15:02", "1280.00", "paid", "x"}
	}
	names := []string{"order", "m", "batch", "id", "time", "amount", "state", "psp"}
	var csv, jsonl, array, xml strings.Builder
	csv.WriteString(strings.Join(names, ",") + "\n")
	xml.WriteString("<r>\n")
	array.WriteString("[\n")
	for i := range count {
		values := row(i)
		csv.WriteString(strings.Join(values, ",") + "\n")
		object := "{"
		element := "<l>"
		for j, name := range names {
			if j > 0 {
				object += ","
			}
			object += fmt.Sprintf("%q:%q", name, values[j])
			element += "<" + name + ">" + values[j] + "</" + name + ">"
		}
		jsonl.WriteString(object + "}\n")
		xml.WriteString(element + "</l>\n")
		if i > 0 {
			array.WriteString(",\n")
		}
		array.WriteString(object + "}")
	}
	xml.WriteString("</r>\n")
	array.WriteString("]\n")
	for _, c := range []struct{ format, extra, text string }{
		{"csv", "", csv.String()},
		{"jsonl", "", jsonl.String()},
		{"json", "", array.String()},
		{"xml", "records: /r/l", xml.String()},
	} {
		b.Run(c.format, func(b *testing.B) {
			p, err := profile.Parse([]byte("profile: p\nversion: 1\nfiles:\n  - match: \"*\"\n    format: " + c.format + "\n    " + c.extra + fields))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for r, err := range p.Read("f", bytes.NewReader([]byte(c.text))) {
					if err != nil || r.Err != nil {
						b.Fatal(err, r.Err)
					}
					n += len(r.Events)
				}
				if n != count {
					b.Fatalf("%d events", n)
				}
			}
			b.ReportMetric(float64(b.N*count)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
