// Package expressions has only tests: they hold the rules of deploy/prometheus and
// the dashboards of deploy/grafana to PromQL, to the metrics that docs/metrics.md
// lists, and to the runbook pages that exist.
package expressions
