package capacity

// names are the figures that plan and simulation use.
var names = []string{
	// Measured.
	"ingest-cpu", "joiner-cpu", "broker-cpu", "redis-cpu", "raw-bytes", "raw-stored", "log-stored",
	"redis-open", "redis-kept", "joiner-open", "joiner-kept", "load-rate", "partition-payments",
	"mark-cpu", "mark-bytes", "append-client-cpu", "append-broker-cpu",
	"warehouse-cpu", "clickhouse-cpu", "clickhouse-bytes", "rows-per-event",
	"seen-takeover-3s", "seen-takeover-6s", "bench-cores",
	// Set by the product.
	"mark-every", "checkpoint-every", "session", "heartbeat", "fenced-wait", "topics-like-log", "feeds",
	// Assumed.
	"append-every", "takeover", "utilisation", "memory-utilisation", "disk-utilisation",
	"joiner-cores", "joiner-memory", "ingest-cores", "ingest-memory",
	"shard-bytes", "shard-read", "redis-replicas", "redis-cores", "redis-memory", "cluster-nodes", "group-members",
	"kafka-replicas", "follower-share", "partition-bytes", "broker-partitions",
	"broker-cores", "broker-memory", "broker-disk", "broker-net", "raw-days", "log-days",
	"clickhouse-cores", "clickhouse-memory", "clickhouse-disk", "clickhouse-replicas", "questions", "warehouse-days",
	"core-hour", "gb-hour", "disk-gb-month", "month-hours",
	"join-round", "restart", "redis-failover", "redis-lag", "broker-failover", "drain",
}

// shares lie between nothing and all.
var shares = []string{"utilisation", "memory-utilisation", "disk-utilisation"}

// mayBeZero are figures that somebody may wish away.
var mayBeZero = []string{
	"mark-cpu", "mark-bytes", "append-client-cpu", "append-broker-cpu", "redis-replicas", "follower-share",
	"core-hour", "gb-hour", "disk-gb-month", "fenced-wait", "join-round", "restart", "redis-failover", "redis-lag", "broker-failover", "drain",
}
