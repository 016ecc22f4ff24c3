//go:build static

package servers

import "errors"

// embedded is false in a program that is linked statically, for a container
// image without a C library: it has no loader to load ClickHouse with.
const embedded = false

func loadClickHouse(string) (func(argc int32, argv **byte) uintptr, error) {
	return nil, errors.New("this program is linked statically and loads no library")
}
