package servers

import "context"

// ChdbLibrary is for the test that puts a clickhouse on PATH.
func ChdbLibrary(ctx context.Context) (string, error) { return chdbLibrary(ctx, nil) }

// ChildArgument is for the same test.
const ChildArgument = childArgument

// RedisCommand lets tests speak to Redis as the package itself does.
var RedisCommand = redisCommand

// ClickHouseRecent is the decision on versions.
var ClickHouseRecent = clickHouseRecent
