// Package config reads, changes and writes back a server's configuration, in the syntax of redis.conf.
//
// The table (table.go, table_inert.go) has one row per directive. A row's kind (number, memory, choice, ...) says
// how its words are read, how CONFIG GET shows it and how a file spells it. Rows of two sorts exist: those that
// steer Larder are bound to a field of Values; inert ones are directives of Redis that do no harm here: they are
// checked, kept and shown, and change nothing. A third sort is refused, with the reason: directives that would
// promise what Larder does not do.
//
// Invariants:
//
//   - A *Values that was handed out never changes. Readers take Config.Load() once and need no lock.
//   - Set changes everything it was asked to change, or nothing.
//   - A kind's file form is lossless: reading it again gives the same value. Two values are the same if and only
//     if their file forms are.
//   - Rewrite only writes a file that, read again, gives the configuration in force.
//   - Loading any bytes ends: included files are bounded in number, depth and size.
//
// The messages are redis-server 7.0's wherever it has one for the case.
package config
