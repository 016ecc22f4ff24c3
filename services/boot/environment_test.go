package boot

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// TestEnvironment: flags that were given become the variables that mean the same.
func TestEnvironment(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	AddFlags(flags, NeedKafka|NeedRedis)
	if err := flags.Parse([]string{"--kafka-brokers", "k1:1,k2:2", "--redis-cluster", "--kafka-password-file=p"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"SETTLEWATCH_KAFKA_BROKERS=k1:1,k2:2", "SETTLEWATCH_KAFKA_PASSWORD_FILE=p", "SETTLEWATCH_REDIS_CLUSTER=true"}
	if got := Environment(flags); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestNoConnections: what names servers and keys is emptied, the rest is left alone.
func TestNoConnections(t *testing.T) {
	got := NoConnections([]string{
		"PATH=/bin", "SETTLEWATCH_KAFKA_TLS=true", "SETTLEWATCH_LOG_LEVEL=debug", "SETTLEWATCH_CONFIG=f", "SETTLEWATCH_REDIS_PASSWORD=x=y",
		"SETTLEWATCH_CARD_KEY=k", "SETTLEWATCH_TRACES=stdout", "SETTLEWATCH_CACHE=c",
	})
	want := []string{"SETTLEWATCH_KAFKA_TLS=", "SETTLEWATCH_CONFIG=", "SETTLEWATCH_REDIS_PASSWORD=", "SETTLEWATCH_CARD_KEY="}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
