// Package peer connects the nodes of a cluster: one listener and one port carry every service that a node has for the
// others, and both ends of a connection prove that they know the cluster's secret before anything else is said.
//
// The handshake, dialler D and acceptor A, numbers big-endian:
//
//	D → A   "LRDP", 1, nonce of D                       5 + 32 bytes
//	A → D   nonce of A                                  32 bytes
//	D → A   length (2), statement of D, MAC             the MAC over role "D", both nonces, the statement
//	A → D   length (2), statement of A, MAC             over role "A", both nonces, both statements
//
//	statement of D    lowest and highest version (2 + 2), kind (1), group (4), cluster ID, node ID
//	statement of A    lowest and highest version (2 + 2), verdict (1), cluster ID, node ID
//
// An ID has its length in front (1 byte). What follows the last ID is left to later versions, and ignored. The MAC is
// HMAC-SHA256 under the secret; over TLS it covers keying material of the TLS session too, so that nobody can sit between.
//
// Invariants:
//
//   - A says nothing before it has D's first message, only its nonce before D has proven itself, and nothing at all to who
//     fails: the connection is closed.
//   - Each MAC covers a nonce of the end that checks it and the role of the end that made it, so neither an old answer nor
//     one's own, reflected, passes.
//   - A connection is handed out only when both ends have proven themselves, share a version and, but for the service
//     control, are members of one cluster.
//   - What a stranger can make grow is bounded: handshakes under way, their duration, the size of every frame. Where there
//     are too many handshakes, the address with the most makes room (strangers.go).
//
// The handshake authenticates; what follows is neither encrypted nor authenticated unless TLS is beneath.
//
// Goroutines: one for each bind address that accepts, and one for each handshake that is under way. Close waits for all.
package peer
