package warehouse

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// passing are ClickHouse's codes of what passes by itself, or when somebody has
// made room: the same request, under the same token, is right again then.
var passing = []int32{
	3,   // UNEXPECTED_END_OF_FILE: the connection broke under the server
	159, // TIMEOUT_EXCEEDED
	164, // READONLY: a server being moved
	202, // TOO_MANY_SIMULTANEOUS_QUERIES
	203, // NO_FREE_CONNECTION
	209, // SOCKET_TIMEOUT
	210, // NETWORK_ERROR
	225, // NO_ZOOKEEPER
	236, // ABORTED: it is shutting down
	241, // MEMORY_LIMIT_EXCEEDED
	242, // TABLE_IS_READ_ONLY
	243, // NOT_ENOUGH_SPACE
	252, // TOO_MANY_PARTS
	285, // TOO_FEW_LIVE_REPLICAS
	319, // UNKNOWN_STATUS_OF_INSERT: the token tells
	394, // QUERY_WAS_CANCELLED
	425, // SYSTEM_ERROR
	439, // CANNOT_SCHEDULE_TASK
	734, // QUERY_WAS_CANCELLED_BY_CLIENT
	999, // KEEPER_EXCEPTION
}

// passes tells whether the same request can succeed later. What is not known is
// not tried again: a service that stops is seen, one that repeats for ever is not.
func passes(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return slices.Contains(passing, exception.Code)
	}
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout)
}
