// Command authorization reads authorization events and appends them to the payment log.
package main

import (
	"os"

	"settlewatch/pipelines/intake"
	"settlewatch/schemas/topic"
	"settlewatch/services/boot"
)

func main() {
	os.Exit(boot.Main(boot.Ingest(intake.Authorization, topic.RawAuthorization, boot.AuthorizationHTTP)))
}
