package warehouse_test

import (
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"settlewatch/pipelines/warehouse"
)

func TestInspectDSN(t *testing.T) {
	for dsn, want := range map[string]warehouse.DSN{
		"clickhouse://127.0.0.1:9000/default":                {},
		"clickhouse://bob:s3cr3t@h1:9440/default":            {Password: true},
		"clickhouse://h1:9440/default?password=s3cr3t":       {Password: true},
		"clickhouse://h1:9440/x?secure=true":                 {},
		"clickhouse://h1:9440/x?secure=true&skip_verify=yes": {Unverified: true},
	} {
		got, err := warehouse.InspectDSN(dsn)
		if strings.HasSuffix(dsn, "yes") {
			if err == nil {
				t.Errorf("%s was accepted", dsn)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", dsn, got, err)
		}
	}
	if got, err := warehouse.InspectDSN("clickhouse://h1:9440/x?secure=true&skip_verify=true"); err != nil || !got.Unverified {
		t.Errorf("skip_verify: %+v, %v", got, err)
	}
	for _, dsn := range []string{
		"", "127.0.0.1:9000", "http://h1:8123/default", "clickhouse://bob:s3%zzcr3t@h1:9000", "clickhouse://bob:s3/cr3t@h1:9000",
		"clickhouse://bob:s3cr3t@h1:9000/bad-name", "clickhouse://bob:s3#cr3t@h1:9000",
	} {
		if _, err := warehouse.InspectDSN(dsn); err == nil {
			t.Errorf("%q was accepted", dsn)
		} else if strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "cr3t") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// What does not leave the machine is not compressed, unless the DSN says so.
func TestCompression(t *testing.T) {
	for dsn, want := range map[string]clickhouse.CompressionMethod{
		"clickhouse://127.0.0.1:9000/x":                clickhouse.CompressionNone,
		"clickhouse://[::1]:9000/x":                    clickhouse.CompressionNone,
		"clickhouse://localhost:9000,127.0.0.1:9001/x": clickhouse.CompressionNone,
		"clickhouse://127.0.0.1:9000/x?compress=lz4":   clickhouse.CompressionLZ4,
		"clickhouse://127.0.0.1:9440/x?secure=true":    clickhouse.CompressionLZ4,
		"clickhouse://127.0.0.1:9000,h1:9000/x":        clickhouse.CompressionLZ4,
		"clickhouse://h1:9000/x":                       clickhouse.CompressionLZ4,
		"clickhouse://h1:9000/x?compress=none":         clickhouse.CompressionNone,
	} {
		got, err := warehouse.Compression(warehouse.Options{DSN: dsn})
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", dsn, got, err, want)
		}
	}
}
