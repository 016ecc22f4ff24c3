// Package deploycheck has only tests: they hold what deploy/ says to the programs
// that it starts: names of settings, flags of the tool, ports, secrets, images.
// .ci/deploy-check runs the validators of others on the same files.
package deploycheck
