package statestore

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed" // the script
	"fmt"

	"github.com/redis/go-redis/v9"

	"settlewatch/pipelines/stage"
)

var (
	//go:embed acquire.lua
	acquireSource string
	acquireScript = redis.NewScript(acquireSource)
)

// Partition is the state of one log partition, as seen by one owner: the token
// that Acquire draws is the Partition's own. An owner is used by one goroutine
// at a time; reading from outside needs no token and may be concurrent.
type Partition struct {
	client *Client
	name   string
	keys   []string // meta, ring, seg
	token  string   // empty: not acquired
}

var _ stage.State = (*Partition)(nil)

// Acquire draws a new token, which fences every earlier owner, this one's own
// earlier token included.
func (p *Partition) Acquire(ctx context.Context) error {
	p.token = ""
	random := rand.Text()
	return p.run(ctx, "acquire", func() error {
		token, err := acquireScript.Run(ctx, p.client.rdb, p.keys[:1], random).Text()
		if err != nil {
			return err
		}
		p.token = token
		return nil
	})
}

// Wipe removes everything that is stored of the partition, the owner's token
// too: its next commit is fenced. A rebuild starts with it.
func (p *Partition) Wipe(ctx context.Context) error {
	return p.run(ctx, "wipe", func() error {
		return p.client.rdb.Unlink(ctx, p.keys...).Err()
	})
}

// fencedError is stage.ErrFenced with what was found. Token values stay out of
// it: whoever has one can commit.
type fencedError struct {
	partition string
	verb      string // defaults to commit
	sequence  uint64
	reason    string
}

func (e *fencedError) Error() string {
	if e.sequence == 0 {
		return fmt.Sprintf("load %s: %s: %s", e.partition, stage.ErrFenced, e.reason)
	}
	return fmt.Sprintf("%s sequence %d of %s: %s: %s", cmp.Or(e.verb, "commit"), e.sequence, e.partition, stage.ErrFenced, e.reason)
}

func (e *fencedError) Unwrap() error { return stage.ErrFenced }
