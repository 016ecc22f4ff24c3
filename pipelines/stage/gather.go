package stage

import "time"

// At least so much time lies between two fetches of a partition that has been read to its
// end: fetched as they come, records come a few at a time, and what a fetch, an append and
// a commit cost is then paid for those few. A verdict waits for the next marks anyway, so
// it comes no later for what an ingest gathers until they are due.
const (
	ingestGathers = 125 * time.Millisecond
	joinerGathers = 25 * time.Millisecond
)

// gathering is how long records still have to come together since the fetch that brought
// batch. What comes after a silence does not wait, for that fetch took long enough; nor
// does a backlog.
func gathering(batch *Batch, began, now time.Time, gathers time.Duration) time.Duration {
	if len(batch.Records) == 0 || batch.Next < batch.HighWatermark {
		return 0
	}
	return gathers - now.Sub(began)
}

// offsetsEvery is the longest time for which a group does not hear how far a partition was
// read: the broker writes each offset that it is told to a log. What lies in between is read
// again after a crash.
const offsetsEvery = time.Second
