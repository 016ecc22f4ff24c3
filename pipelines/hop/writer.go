// Package hop is both ends of the hand-over between an upstream partition (a
// source) and a log: which records are repeats, and up to which moment a source
// has been appended. It is pure; stage does the reading and appending.
//
// Three rules make a hop exact without transactions. Appends of one source to
// one log partition are in order. A source's offset is committed only after
// everything before it was acknowledged. And the reader drops what is not
// beyond the last origin it accepted. Every instance, a zombie too, starts at or
// below the committed offset and appends in order, so all it can do is repeat.
package hop

// Writer decides when the appending end of one source may append a mark. A mark
// says T: "all that lay in this source before T has been appended". T is the
// clock read before a fetch was sent, and it counts once everything below the
// high watermark of that fetch's reply is queued; an empty reply alone proves
// nothing. The zero value is ready. It is not safe for concurrent use.
type Writer struct {
	queued   int64
	oldest   fetch // the earliest fetch whose watermark is not reached yet
	latest   fetch // the last one after it
	readyMs  int64
	hasReady bool
}

type fetch struct {
	tMs  int64
	high int64
	set  bool
}

// Fetched notes a fetch: the clock before it was sent, Unix milliseconds, and
// the high watermark that its reply showed.
func (w *Writer) Fetched(tMs, highWatermark int64) {
	f := fetch{tMs: tMs, high: highWatermark, set: true}
	if !w.oldest.set {
		w.oldest = f
	} else {
		w.latest = f
	}
	w.settle()
}

// Queued notes that every record below next is queued ahead of the next mark.
func (w *Writer) Queued(next int64) {
	w.queued = max(w.queued, next)
	w.settle()
}

func (w *Writer) settle() {
	for w.oldest.set && w.queued >= w.oldest.high {
		// A clock that was set back must not take the mark back.
		if !w.hasReady || w.oldest.tMs > w.readyMs {
			w.readyMs, w.hasReady = w.oldest.tMs, true
		}
		w.oldest, w.latest = w.latest, fetch{}
	}
}

// Mark is the greatest T that may be appended behind what is queued; false when
// no fetch has been worked off yet.
func (w *Writer) Mark() (tMs int64, ok bool) { return w.readyMs, w.hasReady }
