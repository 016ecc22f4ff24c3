package statestore_test

import (
	"testing"

	"github.com/alicebob/miniredis/v2"

	"settlewatch/pipelines/servers/serverstest"
	"settlewatch/pipelines/stage"
	"settlewatch/pipelines/stage/conformance"
	"settlewatch/pipelines/statestore"
)

func TestMain(m *testing.M) { serverstest.Main(m) }

func TestConformsOnMiniredis(t *testing.T) {
	conform(t, dial(t, statestore.Options{Addrs: []string{miniredis.RunT(t).Addr()}}))
}

func TestConformsOnRedis(t *testing.T) {
	conform(t, dial(t, statestore.Options{Addrs: []string{serverstest.Redis(t)}}))
}

func TestConformsOnCluster(t *testing.T) {
	conform(t, dial(t, statestore.Options{Addrs: serverstest.RedisCluster(t), Cluster: true}))
}

// conform runs the suite with a partition for each test, so that on a cluster
// they spread over its nodes.
func conform(t *testing.T, client *statestore.Client) {
	t.Helper()
	next := int32(0)
	conformance.State(t, func(*testing.T) func() stage.State {
		partition := next
		next++
		return func() stage.State { return client.Partition("payment-log.v1", partition) }
	})
}

func dial(t testing.TB, opts statestore.Options) *statestore.Client {
	t.Helper()
	client, err := statestore.Dial(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}
