//go:build !static

package servers

import "github.com/ebitengine/purego"

// embedded says that this program can load ClickHouse as a library.
const embedded = true

// loadClickHouse opens the library and returns its main function.
func loadClickHouse(library string) (func(argc int32, argv **byte) uintptr, error) {
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return nil, err
	}
	var run func(argc int32, argv **byte) uintptr
	purego.RegisterLibFunc(&run, handle, "chdb_query_cmdline")
	return run, nil
}
