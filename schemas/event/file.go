package event

import "strings"

// serviceFile is the service in the name of a source that is a file.
const serviceFile = "file"

// A slash ends a part of a source's name, and a percent sign escapes it.
var (
	escapeFile   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescapeFile = strings.NewReplacer("%2F", "/", "%25", "%")
)

// FileSource is the part of a file that belongs to one feed (authorization,
// capture or settlement), read by a profile. The feed stands before the file's
// name, so that events of one arrival are judged in the order of the feeds, as
// those of the raw topics are, whatever the files are called.
func FileSource(feed, file, profile string, version uint32) Source {
	return Source{Service: serviceFile, Topic: feed + ":" + escapeFile.Replace(file), Profile: profile, Version: version}
}

// File is the name of the file that the source is; false if it is none.
func (s Source) File() (name string, is bool) {
	if s.Service != serviceFile {
		return "", false
	}
	_, name, is = strings.Cut(s.Topic, ":")
	return unescapeFile.Replace(name), is
}
