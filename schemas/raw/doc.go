// Package raw holds the JSON Schemas of the three raw topics, for producers that
// check their records before sending them.
//
// Nothing enters; out go three documents of draft 2020-12, each complete in
// itself. They say what docs/raw-events.md says: a test in pipelines/intake
// holds them to the decoder, field by field and example by example. A validator
// must assert formats, or impossible dates pass. Four things no schema can say,
// and only the decoder refuses: a record above 256 KiB, an integer written with
// a point or an exponent (100.0), a name twice in one object, and a card number
// or track data in a field that is not for it.
package raw

import _ "embed"

// The schemas, as JSON text, one for each raw topic.
var (
	//go:embed authorization.schema.json
	Authorization string
	//go:embed capture.schema.json
	Capture string
	//go:embed settlement.schema.json
	Settlement string
)
