// Package collection holds hashes, lists, sets and sorted sets: five orders over one container.
package collection
