// Package collection holds hashes, lists, sets and sorted sets: orders over one container.
//
// A small collection is one packed chunk (chunk.go) in its key's entry. Once it outgrows fixed bounds (core.go), the entry
// is a root, and the elements stand in leaves, which are such chunks, under pages that know how many elements each child
// has below it and where it begins (page.go, tree.go): a B+ tree for each run of elements. Hashes, sets and lists have one
// run, sorted sets two.
//
// Every node is an entry of its own for the memory front and the store: clean or dirty, resident or cold by itself. So a
// change of one element of ten million changes one leaf, with the counts above where their number changes, and the rest
// may stay on disk. What a command can observe never depends on where nodes begin and end.
//
// Nothing here knows a protocol, a key space or a file: a collection lives in a Home. A node that cannot be had (it is
// cold, and the transaction may not wait) reads as if the collection ended there; the Home's owner knows, and drops what
// came of it.
package collection
