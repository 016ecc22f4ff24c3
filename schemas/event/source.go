package event

import (
	"fmt"
	"strconv"
	"strings"
)

// Source is one upstream partition as read by one service with one version of
// its profile. The profile is part of the name because the same bytes must
// become the same records for every instance that appends under one name.
type Source struct {
	Service   string
	Topic     string
	Partition int32
	Profile   string
	Version   uint32
}

// String is service/topic/partition/profile@version.
func (s Source) String() string {
	return fmt.Sprintf("%s/%s/%d/%s@%d", s.Service, s.Topic, s.Partition, s.Profile, s.Version)
}

// ParseSource is the inverse of String.
func ParseSource(name string) (Source, error) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return Source{}, fmt.Errorf("source %q: want service/topic/partition/profile@version", name)
	}
	partition, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || partition < 0 {
		return Source{}, fmt.Errorf("source %q: partition %q is not a number", name, parts[2])
	}
	profile, versionText, found := strings.Cut(parts[3], "@")
	version, err := strconv.ParseUint(versionText, 10, 32)
	if !found || err != nil {
		return Source{}, fmt.Errorf("source %q: profile %q has no @version", name, parts[3])
	}
	source := Source{
		Service: parts[0], Topic: parts[1], Partition: int32(partition),
		Profile: profile, Version: uint32(version),
	}
	// One source has one name: under a second one ("…/00/…") its position would
	// be kept twice and its repeats accepted.
	if canonical := source.String(); canonical != name {
		return Source{}, fmt.Errorf("source %q: want it written as %q", name, canonical)
	}
	return source, nil
}
