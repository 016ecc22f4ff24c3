package world

// Flaws are the bugs that the simulation has to catch.
var Flaws []Flaw
