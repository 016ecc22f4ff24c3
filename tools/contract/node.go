package contract

import "go.yaml.in/yaml/v3"

// node is a place in a document; the zero node is one that is not there.
type node struct {
	y    *yaml.Node
	file string
}

// field of a mapping.
type field struct {
	name  string
	value node
}

// at is the value of a key.
func (n node) at(key string) node {
	for _, f := range n.fields() {
		if f.name == key {
			return f.value
		}
	}
	return node{}
}

func (n node) text() string {
	if n.y == nil || n.y.Kind != yaml.ScalarNode {
		return ""
	}
	return n.y.Value
}

func (n node) texts() []string {
	var all []string
	for _, item := range n.items() {
		all = append(all, item.text())
	}
	return all
}

func (n node) items() []node {
	if n.y == nil || n.y.Kind != yaml.SequenceNode {
		return nil
	}
	var all []node
	for _, y := range n.y.Content {
		all = append(all, node{y: y, file: n.file})
	}
	return all
}

// fields in the order of the file.
func (n node) fields() []field {
	if n.y == nil || n.y.Kind != yaml.MappingNode {
		return nil
	}
	var all []field
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		all = append(all, field{name: n.y.Content[i].Value, value: node{y: n.y.Content[i+1], file: n.file}})
	}
	return all
}
