// The protobuf generators, apart from the other tools because buf asks for a
// later protobuf than the runtime that the product uses, and a generator has to
// be of its runtime's version.
module settlewatch/tools/pinned/protoc

go 1.26.0

tool (
	github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto
	google.golang.org/protobuf/cmd/protoc-gen-go
)

require (
	github.com/planetscale/vtprotobuf v0.6.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
