package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// ErrRefused is a cluster that answers but does not let us in, or whose
// certificate is not trusted. Dialling again does not help.
var ErrRefused = errors.New("kafka refuses the connection")

// SASL makes the mechanism of that name: plain, scram-sha-256 or scram-sha-512.
func SASL(mechanism, user, password string) (sasl.Mechanism, error) {
	switch strings.ToLower(mechanism) {
	case "plain":
		return plain.Mechanism{Username: user, Password: password}, nil
	case "scram-sha-256":
		return scramMechanism(scram.SHA256, user, password)
	case "scram-sha-512":
		return scramMechanism(scram.SHA512, user, password)
	}
	return nil, fmt.Errorf("%q is no mechanism: use plain, scram-sha-256 or scram-sha-512", mechanism)
}

func scramMechanism(algorithm scram.Algorithm, user, password string) (sasl.Mechanism, error) {
	m, err := scram.Mechanism(algorithm, user, password)
	if err != nil {
		// The cause may quote what it could not prepare.
		return nil, errors.New("user or password holds a character that SCRAM does not allow")
	}
	return m, nil
}
