package servers_test

import (
	"testing"

	"settlewatch/pipelines/servers/serverstest"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

func TestClickHouseServes(t *testing.T) {
	c := serverstest.ClickHouse(t)
	t.Log(c)
}

func TestRedisServes(t *testing.T) {
	t.Log(serverstest.Redis(t), serverstest.RedisCluster(t), serverstest.Broker(t))
}
