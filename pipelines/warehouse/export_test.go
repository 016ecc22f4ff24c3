package warehouse

import "github.com/ClickHouse/clickhouse-go/v2"

// Compression is what connections are made with.
func Compression(o Options) (clickhouse.CompressionMethod, error) {
	_, d, err := o.resolve()
	if err != nil {
		return 0, err
	}
	return d.Compression.Method, nil
}
